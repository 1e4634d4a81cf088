"""Cards for stand-ins of published datasets: the same card, promising as many images as the stand-in has.

They are found as any other package's cards are: through an entry point, from a folder on the module path.
"""

from __future__ import annotations

import json
from pathlib import Path

from noisybench.spec import registry
from noisybench.spec.cards import ExpectedFile

PACKAGE = "noisybench_small_sets"


# Images of the parts of what ``trees`` makes.
SIZES = {
    "clothing1m": {"train": 140, "test": 28, "clean": 56},
    "clothing1m-50k": {"test": 28, "clean": 56},
    "clothing1m-balanced": {"test": 28, "clean": 56},
    "food101n": {"test": 101},
    "animal10n": {"train": 40, "test": 20},
    "mini-webvision": {"train": 100, "test": 50},
    "cifar10": {"train": 300, "test": 100},
    "cifar10n": {"train": 300, "test": 100},
}


def register(folder: Path, base: str, root: Path | None = None, **sizes: int) -> str:
    """Write a card ``small-BASE`` below a folder that is, or will be, on the module path; its name.

    Args:
        root: the stand-in, whose list files and folders the card is to promise as they are.
        sizes: ``train``, ``test`` and ``clean``: images of the parts that it is to promise.
    """
    sizes = SIZES.get(base, {}) | sizes
    card = registry.dataset_card(base)
    lines = [f"base = {json.dumps(card.base or base)}", f"title = {json.dumps(card.title + ', a stand-in')}"]
    lines += [f"{part}_size = {size}" for part, size in sizes.items()]
    if card.files:
        lines.append("files = [")
        for file in card.files:
            count = file.entries and _entries(root, file)
            promised = "" if count is None else f", entries = {count}"
            lines.append(f"  {{ path = {json.dumps(file.path)}, what = {json.dumps(file.what)}{promised} }},")
        lines.append("]")
    name = f"small-{base}"
    cards = folder / PACKAGE / "datasets"
    cards.mkdir(parents=True, exist_ok=True)
    (cards.parent / "__init__.py").touch()
    (cards / f"{name}.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    info = folder / f"{PACKAGE}-0.dist-info"
    info.mkdir(exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 0\n")
    (info / "entry_points.txt").write_text(f"[noisybench.cards]\n{PACKAGE} = {PACKAGE}\n")
    forget()
    return name


def _entries(root: Path, file: ExpectedFile) -> int:
    """Files of a folder, or lines of a list without its header, in the stand-in's folder or beside it."""
    place, what = root / file.path if (root / file.path).exists() else root.parent / file.path, file.what
    if place.is_dir():
        return sum(1 for _ in place.iterdir())
    lines = [line for line in place.read_text().split("\n") if line] if place.is_file() else []
    return len(lines) - what.startswith("header")


def forget() -> None:
    """Cards are looked for once in a process; let them be looked for again."""
    registry.forget()
