"""Datasets in the Hub's form: by name from the Hugging Face Hub, or from a local folder of Parquet or Arrow files.

Images are decoded once; the decoded uint8 tensor is kept in a cache file, keyed by the source's fingerprint and checked
against its own hash when it is read.
"""

from __future__ import annotations

import hashlib
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from safetensors import safe_open
from safetensors.torch import save_file

from noisybench.cards import DatasetCard
from noisybench.errors import UserError
from noisybench.files import replace_file


def cache_folder() -> Path:
    """Where decoded images are kept: ``$NOISYBENCH_CACHE``, else ``~/.cache/noisybench``."""
    return Path(os.environ.get("NOISYBENCH_CACHE") or Path.home() / ".cache" / "noisybench")


def load_hub(card: DatasetCard, data_path: Path | None):
    """The train and test parts as pairs (pixels N×C×H×W uint8, labels N int64).

    Raises:
        UserError: the folder, a split, a column or an image is missing or unreadable.
    """
    splits = _open(card, data_path)
    parts = []
    for name in ("train", "test"):
        if name not in splits:
            raise UserError(
                f"{_source(card, data_path)}: no {name!r} split; found {', '.join(sorted(splits)) or 'none'}"
            )
        parts.append(_decoded(card, splits[name], f"{_source(card, data_path)}, {name}"))
    return parts


def _source(card: DatasetCard, data_path: Path | None) -> str:
    return f"--data-path {data_path}" if data_path else f"dataset {card.name}"


def _open(card: DatasetCard, data_path: Path | None):
    import datasets

    datasets.disable_progress_bars()
    if data_path is None:
        try:
            return datasets.load_dataset(card.hub)
        except Exception as error:  # the client raises many kinds: connection, missing, gated
            raise UserError(
                f"dataset {card.name!r} could not be loaded from the Hub ({card.hub}): {_one_line(error)}; "
                f"give --data-path with a local copy (Parquet files with columns {card.image_column!r} and "
                f"{card.label_column!r})"
            ) from error
    if not data_path.is_dir():
        raise UserError(f"--data-path {data_path}: no such folder; give the folder that holds {card.name}'s files")
    _check_parquet(data_path)
    try:
        return datasets.load_dataset(str(data_path))
    except Exception as error:  # as above; the folder's content decides which
        raise UserError(
            f"--data-path {data_path}: no dataset can be read from it ({_one_line(error)}); expected Parquet files "
            f"train-*.parquet and test-*.parquet with columns {card.image_column!r} and {card.label_column!r}"
        ) from error


def _check_parquet(folder: Path) -> None:
    """Name the file that is no Parquet before the loader fails somewhere inside."""
    import pyarrow.parquet

    for file in sorted(folder.rglob("*.parquet")):
        try:
            pyarrow.parquet.ParquetFile(file)
        except (pyarrow.ArrowInvalid, OSError) as error:
            raise UserError(f"{file}: not a readable Parquet file: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:200] + "…"


def _decoded(card: DatasetCard, part, source: str) -> tuple[torch.Tensor, np.ndarray]:
    import datasets

    for column in (card.image_column, card.label_column):
        if column not in part.column_names:
            raise UserError(f"{source}: no column {column!r}; found {', '.join(part.column_names)}")
    cache = cache_folder() / f"{card.name}-{part._fingerprint}-{card.image_size}.safetensors"
    cached = _read_cache(cache)
    if cached is not None:
        return cached
    labels = np.asarray(part[card.label_column], dtype=np.int64)
    wrong = np.flatnonzero((labels < 0) | (labels >= len(card.classes)))
    if len(wrong):
        raise UserError(
            f"{source}: row {wrong[0]} has label {labels[wrong[0]]}, outside 0..{len(card.classes) - 1} "
            f"({len(wrong)} such rows)"
        )
    encoded = part.cast_column(card.image_column, datasets.Image(decode=False))[card.image_column]
    mode = "L" if card.channels == 1 else "RGB"

    def decode(row: int) -> np.ndarray:
        try:
            with Image.open(io.BytesIO(encoded[row]["bytes"])) as image:
                return np.asarray(image.convert(mode))
        except (UnidentifiedImageError, OSError, TypeError, SyntaxError) as error:
            raise UserError(f"{source}: the image of row {row} cannot be decoded: {_one_line(error)}") from error

    with ThreadPoolExecutor() as pool:
        decoded = list(pool.map(decode, range(len(labels))))
    odd = next((row for row, image in enumerate(decoded) if image.shape[:2] != (card.image_size,) * 2), None)
    if odd is not None:
        raise UserError(
            f"{source}: row {odd} is {decoded[odd].shape[1]}×{decoded[odd].shape[0]} pixels, "
            f"{card.name} has {card.image_size}×{card.image_size}"
        )
    pixels = torch.from_numpy(np.stack(decoded)).reshape(len(labels), card.image_size, card.image_size, -1)
    pixels = pixels.permute(0, 3, 1, 2).contiguous()
    _write_cache(cache, pixels, labels)
    return pixels, labels


def _digest(pixels: torch.Tensor, labels: torch.Tensor) -> str:
    digest = hashlib.sha256(pixels.numpy().data)
    digest.update(labels.numpy().data)
    return digest.hexdigest()


def _write_cache(file: Path, pixels: torch.Tensor, labels: np.ndarray) -> None:
    tensors = {"pixels": pixels, "labels": torch.from_numpy(labels)}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(file) as temporary:
            save_file(tensors, temporary, metadata={"sha256": _digest(**tensors)})
    except OSError:
        return  # a cache that cannot be written costs the next run its decoding time, nothing else


def _read_cache(file: Path) -> tuple[torch.Tensor, np.ndarray] | None:
    """The cached tensors, or None where there are none or they are damaged (they are decoded again then)."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as stored:
            pixels, labels = stored.get_tensor("pixels"), stored.get_tensor("labels")
            intact = stored.metadata().get("sha256") == _digest(pixels, labels)
    except Exception:  # safetensors raises its own error type for a damaged header
        return None
    return (pixels, labels.numpy()) if intact else None
