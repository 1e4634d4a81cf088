"""CIFAR from its original archives, in the original (torchvision's) order.

The binary version is plain bytes and is preferred where both are there. The python version is a set of pickles written
by its authors, who publish nothing else that keeps this order beside the binary version; a pickle can run any code, so
it is read by :mod:`noisybench.data.plain_pickle`, which runs none.
"""

from __future__ import annotations

import lzma
import os
import posixpath
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from noisybench.core.errors import UserError, one_line
from noisybench.data.plain_pickle import read_plain_pickle
from noisybench.spec.cards import DatasetCard

SIDE = 32
PIXELS = 3 * SIDE * SIDE
LARGEST_FILE = 2**28  # bytes; CIFAR-100's train file has about 2**27


@dataclass(frozen=True)
class _Layout:
    """One archive: its folder, the files of each part in order, and the label's place."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int = 0  # binary: bytes before the pixels, the last of them is the label
    label_key: bytes = b""  # python: the entry with the labels


ARCHIVES: dict[str, tuple[_Layout, ...]] = {
    "cifar10": (
        _Layout(
            "cifar-10-batches-bin",
            tuple(f"data_batch_{n}.bin" for n in range(1, 6)),
            ("test_batch.bin",),
            label_bytes=1,
        ),
        _Layout(
            "cifar-10-batches-py", tuple(f"data_batch_{n}" for n in range(1, 6)), ("test_batch",), label_key=b"labels"
        ),
    ),
    "cifar100": (
        _Layout("cifar-100-binary", ("train.bin",), ("test.bin",), label_bytes=2),  # coarse, then fine
        _Layout("cifar-100-python", ("train",), ("test",), label_key=b"fine_labels"),
    ),
}


def find_batches(card: DatasetCard, path: Path) -> tuple[_Layout, Callable[[str], bytes]] | None:
    """The archive that a path holds, with a function that reads a file of it; None if it holds none.

    The path may be the archive's folder, the folder around it, or a tar file.

    Raises:
        UserError: the tar file is damaged or cut off.
    """
    layouts = ARCHIVES.get(card.name) or ARCHIVES.get(card.base or "", ())
    members = _members(path) if layouts and os.path.isfile(path) else {}
    for layout in layouts:
        if any(name.startswith(f"{layout.folder}/") for name in members):
            return layout, lambda name, layout=layout: _member(members, path, f"{layout.folder}/{name}")
        for folder in (path, path / layout.folder):
            if any(os.path.isfile(folder / name) for name in (*layout.train, *layout.test)):
                return layout, lambda name, folder=folder: _read_file(folder / name)
    return None


def read_batches(
    layout: _Layout, read: Callable[[str], bytes], card: DatasetCard
) -> list[tuple[torch.Tensor, np.ndarray]]:
    """Train and test part as pairs (pixels N×3×32×32 uint8, labels N int64), in the archive's order.

    Raises:
        UserError: a file is missing or damaged, or a label is out of range.
    """
    decode = _binary if layout.label_bytes else _python
    parts = []
    for files in (layout.train, layout.test):
        batches = [decode(read(name), layout, name) for name in files]
        pixels = np.concatenate([pixels for pixels, _ in batches]).reshape(-1, 3, SIDE, SIDE)
        labels = np.concatenate([labels for _, labels in batches])
        wrong = np.flatnonzero((labels < 0) | (labels >= len(card.classes)))
        if len(wrong):
            raise UserError(
                f"{layout.folder}: {len(wrong)} labels are outside 0..{len(card.classes) - 1}, the first "
                f"{labels[wrong[0]]} in row {wrong[0]}"
            )
        parts.append((torch.from_numpy(np.ascontiguousarray(pixels)), labels))
    return parts


def _binary(content: bytes, layout: _Layout, name: str) -> tuple[np.ndarray, np.ndarray]:
    size = layout.label_bytes + PIXELS
    if not content or len(content) % size:
        raise UserError(f"{layout.folder}/{name}: {len(content)} bytes are no whole number of {size}-byte records")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    return records[:, layout.label_bytes :], records[:, layout.label_bytes - 1].astype(np.int64)


def _python(content: bytes, layout: _Layout, name: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = read_plain_pickle(content)
        pixels, labels = batch[b"data"], batch[layout.label_key]
        if not (isinstance(labels, list) and all(type(label) is int for label in labels)):
            raise ValueError("the labels are no list of whole numbers")
        labels = np.array(labels, dtype=np.int64)
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXELS):
            raise ValueError(f"data of shape {pixels.shape} and type {pixels.dtype}")
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{layout.folder}/{name}: not a CIFAR batch ({one_line(error)[:150]})") from error
    return pixels, labels


def _read_file(file: Path) -> bytes:
    try:
        if file.stat().st_size > LARGEST_FILE:
            raise UserError(f"{file}: {file.stat().st_size:,} bytes; no file of CIFAR's archives has so many")
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({(error.strerror or str(error)).lower()})") from error


def _members(archive: Path) -> dict[str, bytes]:
    """The files of a tar file that belong to one of CIFAR's archives, in one pass; none if it is no tar file."""
    wanted = {
        f"{layout.folder}/{name}"
        for layouts in ARCHIVES.values()
        for layout in layouts
        for name in (*layout.train, *layout.test)
    }
    found: dict[str, bytes] = {}
    try:
        if not tarfile.is_tarfile(archive):
            return {}
        with tarfile.open(archive) as opened:
            for member in opened:
                name = posixpath.normpath(member.name)
                if name in wanted and member.isreg():
                    if member.size > LARGEST_FILE:
                        raise UserError(f"{archive}: {name} has {member.size:,} bytes; no file of CIFAR's has so many")
                    stream = opened.extractfile(member)
                    if stream is not None:  # it is a regular file
                        found[name] = stream.read()
    except (OSError, EOFError, ValueError, tarfile.TarError, zlib.error, lzma.LZMAError) as error:
        raise UserError(f"{archive}: damaged or cut off ({one_line(error)}); get it again") from error
    return found


def _member(members: dict[str, bytes], archive: Path, name: str) -> bytes:
    if name not in members:
        raise UserError(f"{archive}: {name} is missing")
    return members[name]
