"""A transition matrix as a PNG heat map."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError
from noisybench.core.files import replace_file
from noisybench.core.own_outputs import HEAT_MAP


def heat_map(file: Path, matrix: np.ndarray, names: list[str], title: str) -> None:
    """Draw a transition matrix as a PNG: rows are true classes, columns given labels, darker is more.

    Whether ``file`` may be written over is asked before (``HEAT_MAP.refuse_foreign``).

    Args:
        matrix: C×C, entries in [0, 1].
        names: C class names.

    Raises:
        UserError: the file cannot be written.
    """
    from PIL import Image, ImageDraw, ImageFont

    size = len(matrix)
    cell = max(8, min(48, 960 // size))
    font = ImageFont.load_default(max(8, min(14, cell // 3 + 4)))
    margin = 12 + int(max(font.getlength(name) for name in names))
    head = 28
    canvas = Image.new("RGB", (margin + size * cell + 12, head + margin + size * cell + 12), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((6, 6), title, fill="black", font=font)
    for i, name in enumerate(names):
        place = head + margin + i * cell + cell // 2
        draw.text((margin - 6, place), name, fill="black", font=font, anchor="rm")
        _write_upwards(canvas, (margin + i * cell + cell // 2, head + margin - 6), name, font)
        for j in range(size):
            left, top = margin + j * cell, head + margin + i * cell
            value = float(matrix[i, j])
            draw.rectangle((left, top, left + cell - 1, top + cell - 1), fill=_colour(value), outline="#dddddd")
            if cell >= 32:
                ink = "white" if value > 0.3 else "black"
                draw.text((left + cell // 2, top + cell // 2), f"{value:.2f}", fill=ink, font=font, anchor="mm")
    try:
        with replace_file(file) as temporary:
            canvas.save(temporary, format="PNG", pnginfo=HEAT_MAP.png_text())
    except OSError as error:
        raise UserError(f"--png {file}: cannot be written ({error.strerror or error})") from error


def _write_upwards(canvas, foot: tuple[int, int], text: str, font) -> None:
    """Write text that reads upwards from its foot (x of its middle, y of its beginning)."""
    from PIL import Image, ImageDraw

    width, height = int(font.getlength(text)) + 2, int(font.size) + 6
    label = Image.new("RGB", (width, height), "white")
    ImageDraw.Draw(label).text((0, height // 2), text, fill="black", font=font, anchor="lm")
    canvas.paste(label.rotate(90, expand=True), (foot[0] - height // 2, foot[1] - width))


def _colour(value: float) -> tuple[int, int, int]:
    """White for 0 to dark blue for 1. The square root makes the small shares off the diagonal visible."""
    strength = min(max(value, 0.0), 1.0) ** 0.5
    return tuple(round(255 + strength * (end - 255)) for end in (8, 48, 107))
