"""Datasets in the Hub's form: by name from the Hugging Face Hub, or from a local folder of Parquet or Arrow files.

Where the decoded set is resident it is decoded once; the uint8 tensor is kept in a cache file, keyed by the source's
fingerprint and the preprocessing, and checked against its own hash when it is read.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import astuple
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from noisybench.core.errors import UserError
from noisybench.core.files import replace_file, write_json
from noisybench.data.decode import Preprocess
from noisybench.data.pixels import HubColumn, ResidentPixels, StreamedPixels, refuse_broken
from noisybench.spec.cards import DatasetCard


def cache_folder() -> Path:
    """Where decoded images are kept: ``$NOISYBENCH_CACHE``, else ``~/.cache/noisybench``."""
    return Path(os.environ.get("NOISYBENCH_CACHE") or Path.home() / ".cache" / "noisybench")


def open_hub(
    card: DatasetCard, data_path: Path | None, preprocess: Preprocess
) -> list[tuple[StreamedPixels, np.ndarray]]:
    """The train and test parts as pairs (pixels, still encoded; labels N int64).

    Raises:
        UserError: the folder, a split or a column is missing or unreadable, or a label is out of range.
    """
    splits = _open(card, data_path)
    source = f"--data-path {data_path}" if data_path else f"dataset {card.name}"
    parts = []
    for name in ("train", "test"):
        if name not in splits:
            raise UserError(f"{source}: no {name!r} split; found {', '.join(sorted(splits)) or 'none'}")
        part, where = splits[name], f"{source}, {name}"
        for column in (card.image_column, card.label_column):
            if column not in part.column_names:
                raise UserError(f"{where}: no column {column!r}; found {', '.join(part.column_names)}")
        key = f"{card.name}-{part._fingerprint}-{'-'.join(map(str, astuple(preprocess)))}"
        pixels = StreamedPixels(HubColumn(part, card.image_column), preprocess, where, cache_key=key)
        parts.append((pixels, _labels(part, card, where)))
    return parts


def _labels(part, card: DatasetCard, where: str) -> np.ndarray:
    try:
        labels = np.asarray(part[card.label_column], dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: column {card.label_column!r} holds no whole numbers ({_one_line(error)})") from error
    wrong = np.flatnonzero((labels < 0) | (labels >= len(card.classes)))
    if len(wrong):
        raise UserError(
            f"{where}: row {wrong[0]} has label {labels[wrong[0]]}, outside 0..{len(card.classes) - 1} "
            f"({len(wrong)} such rows)"
        )
    return labels


def _open(card: DatasetCard, data_path: Path | None):
    import datasets

    datasets.disable_progress_bars()
    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)  # a local folder needs no card
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


def load_resident(pixels: StreamedPixels) -> ResidentPixels:
    """Decode everything into memory, through the cache where the pixels have a key."""
    if pixels.cache_key is None:
        return pixels.load()
    file = cache_folder() / f"{pixels.cache_key}.safetensors"
    cached = _read_cache(file)
    if cached is not None:
        return ResidentPixels(cached)
    loaded = pixels.load()
    _write_cache(file, loaded.tensor)
    return loaded


def _write_cache(file: Path, pixels: torch.Tensor) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(file) as temporary:
            save_file(
                {"pixels": pixels}, temporary, metadata={"sha256": hashlib.sha256(pixels.numpy().data).hexdigest()}
            )
    except OSError:
        return  # a cache that cannot be written costs the next run its decoding time, nothing else


def _read_cache(file: Path) -> torch.Tensor | None:
    """The cached pixels, or None where there are none or they are damaged (they are decoded again then)."""
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as stored:
            pixels = stored.get_tensor("pixels")
            intact = stored.metadata().get("sha256") == hashlib.sha256(pixels.numpy().data).hexdigest()
    except Exception:  # safetensors raises its own error type for a damaged header
        return None
    return pixels if intact else None


def check_once(pixels: StreamedPixels, key: str) -> None:
    """Decode all images, unless that was done before for this content in this place.

    The memory of it is a small file in the cache folder. A file changed later without a change of its size is found
    when it is read for training.

    Args:
        key: names the content.

    Raises:
        UserError: some images cannot be decoded.
    """
    name = hashlib.sha256(f"{pixels.where}\n{key}".encode()).hexdigest()
    marker = cache_folder() / "checked" / f"{name}.json"
    if marker.is_file():
        return
    refuse_broken(pixels.where, pixels.broken(), len(pixels))
    try:
        marker.parent.mkdir(parents=True, exist_ok=True)
        write_json(marker, {"images": len(pixels), "where": pixels.where})
    except OSError:
        return  # the next run decodes everything again, nothing else
