"""Datasets in the Hub's form: by name from the Hugging Face Hub, or from a local folder of Parquet files.

Where the decoded set is resident it is decoded once; the uint8 tensor is kept in a cache file, keyed by the content of
the source's files, the decoding rules and the preprocessing, and checked against its own hash when it is read.
"""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from noisybench.core.errors import UserError, one_line
from noisybench.core.files import file_sha256, write_json
from noisybench.data.cache import cache_folder, write_cached
from noisybench.data.decode import RULES, Preprocess
from noisybench.data.parquet_files import find_splits, read_table
from noisybench.data.pixels import HubColumn, ResidentPixels, StreamedPixels, refuse_broken
from noisybench.spec.cards import DatasetCard

SPLITS = ("train", "test")
UNKNOWN_NAMES = 0.1  # share of a label column's class names that may be misspelt: the Hub's CIFAR-100 has one


def open_hub(
    card: DatasetCard, data_path: Path | None, preprocess: Preprocess
) -> list[tuple[StreamedPixels, np.ndarray]]:
    """The train and test parts as pairs (pixels, still encoded; labels N int64).

    Raises:
        UserError: the folder, a split or a column is missing or unreadable, or a label is out of range.
    """
    import datasets

    datasets.disable_progress_bars()
    source = f"--data-path {data_path}" if data_path else f"dataset {card.name}"
    splits = _by_name(card) if data_path is None else find_splits(_folder(card, data_path))
    parts = []
    for name in SPLITS:
        if name not in splits:
            raise UserError(f"{source}: no {name!r} split; found {', '.join(sorted(splits)) or 'none'}")
        where = f"{source}, {name}"
        columns = (card.image_column, card.label_column)
        if data_path is None:
            part: Any = splits[name]
            content = _content(part)
            for column in columns:
                if column not in part.column_names:
                    raise UserError(f"{where}: no column {column!r}; found {', '.join(part.column_names)}")
        else:
            part, content = read_table(splits[name], columns, where)
        key = None
        if content is not None:
            key = f"{card.name}-{content}-rules{RULES}-{preprocess.key}"
        labels = _labels(part, card, where)
        try:
            encoded = HubColumn(part, card.image_column)
        except Exception as error:  # another kind of column; the library raises many kinds
            raise UserError(f"{where}: column {card.image_column!r} holds no images ({_short(error)})") from error
        parts.append((StreamedPixels(encoded, preprocess, where, cache_key=key), labels))
    return parts


def _content(part) -> str | None:
    """sha256 of the files that the Hub's client keeps a part in; None if there are none."""
    files = [Path(kept["filename"]) for kept in part.cache_files]
    return hashlib.sha256("".join(map(file_sha256, files)).encode()).hexdigest() if files else None


def _labels(part, card: DatasetCard, where: str) -> np.ndarray:
    import datasets
    import pyarrow as pa

    column = part.data.column(card.label_column)
    where = f"{where}: column {card.label_column!r}"
    if not pa.types.is_integer(column.type):
        raise UserError(f"{where} holds {column.type}, not whole numbers: a label is a class id")
    if column.null_count:
        raise UserError(f"{where}: {column.null_count} of {len(column)} rows have no label")
    feature = part.features[card.label_column]
    if isinstance(feature, datasets.ClassLabel) and feature.names is not None:
        _check_names(feature.names, card, where)
    labels = column.to_numpy()
    wrong = np.flatnonzero((labels < 0) | (labels >= len(card.classes)))
    if len(wrong):
        raise UserError(
            f"{where}: row {wrong[0]} has label {labels[wrong[0]]}, outside 0..{len(card.classes) - 1} "
            f"({len(wrong)} such rows)"
        )
    return labels.astype(np.int64)


def _check_names(names: list[str], card: DatasetCard, where: str) -> None:
    """Refuse a label column whose class names are others than the card's, or stand in another order.

    Names are compared by their letters and digits, in which the Hub's differ from the cards' (``T - shirt / top``).
    """
    there, here = (["".join(filter(str.isalnum, name.casefold())) for name in of] for of in (names, card.classes))
    if there == [str(number) for number in range(len(here))]:
        return  # ids, not names
    moved = [number for number, name in enumerate(there) if name in here and here[number : number + 1] != [name]]
    if moved:
        raise UserError(
            f"{where}: its class names stand in another order than those of {card.name}: {names[moved[0]]!r} is class "
            f"{moved[0]} there and {here.index(there[moved[0]])} here"
        )
    unknown = [name for name, letters in zip(names, there, strict=True) if letters not in here]
    if len(names) != len(here) or len(unknown) > UNKNOWN_NAMES * len(here):
        some = f", {unknown[0]!r} is none of them" if unknown else ""
        raise UserError(f"{where}: it has {len(names)} classes, not the {len(here)} of {card.name}{some}")


def _by_name(card: DatasetCard):
    import datasets

    logging.getLogger("huggingface_hub.repocard").setLevel(logging.ERROR)
    try:
        return datasets.load_dataset(card.hub)
    except Exception as error:  # the client raises many kinds: connection, missing, gated
        raise UserError(
            f"dataset {card.name!r} could not be loaded from the Hub ({card.hub}): {_short(error)}; "
            f"give --data-path with a local copy (Parquet files with columns {card.image_column!r} and "
            f"{card.label_column!r})"
        ) from error


def _folder(card: DatasetCard, data_path: Path) -> Path:
    if os.path.isfile(data_path):
        raise UserError(f"--data-path {data_path}: a file, and no archive of {card.name}; give the folder of its files")
    if not os.path.isdir(data_path):
        raise UserError(f"--data-path {data_path}: no such folder; give the folder that holds {card.name}'s files")
    if not any(data_path.rglob("*.parquet")):
        raise UserError(
            f"--data-path {data_path}: no dataset can be read from it (it holds no Parquet file); expected "
            f"train-*.parquet and test-*.parquet with columns {card.image_column!r} and {card.label_column!r}"
        )
    return data_path


def _short(error: BaseException) -> str:
    text = one_line(error)
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
    metadata = {"sha256": hashlib.sha256(pixels.numpy().data).hexdigest()}
    write_cached(file, lambda temporary: save_file({"pixels": pixels}, temporary, metadata=metadata))


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

    The memory of it is a small file in the cache folder.

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
    write_cached(marker, lambda temporary: write_json(temporary, {"images": len(pixels), "where": pixels.where}))
