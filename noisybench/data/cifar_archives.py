"""CIFAR from its original archives, in the original (torchvision's) order.

The binary version is plain bytes and is preferred where both are there. The python version is a set of pickles written
by its authors, who publish nothing else that keeps this order beside the binary version; a pickle can run any code, so
it is read by an unpickler that knows the few callables an array of bytes is made of and refuses every other name.
"""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from noisybench.core.errors import UserError
from noisybench.spec.cards import DatasetCard

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class _Layout:
    """One archive: its folder, the files of each part in order, and the label's place."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    label_bytes: int = 0  # binary: bytes before the pixels, the last of them is the label
    label_key: bytes = b""  # python: the entry with the labels


LAYOUTS = {
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
    """
    for layout in LAYOUTS.get(card.name, ()):
        if path.is_file() and tarfile.is_tarfile(path):
            with tarfile.open(path) as archive:
                members = {member.name: member for member in archive.getmembers()}
            if f"{layout.folder}/{layout.test[0]}" in members:
                return layout, lambda name, layout=layout: _read_member(path, f"{layout.folder}/{name}")
        for folder in (path, path / layout.folder):
            if (folder / layout.test[0]).is_file() and not (folder / layout.test[0]).is_dir():
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
        batch = ArrayUnpickler(io.BytesIO(content), encoding="bytes").load()
        pixels, labels = batch[b"data"], np.asarray(batch[layout.label_key], dtype=np.int64)
        if pixels.dtype != np.uint8 or pixels.shape != (len(labels), PIXELS):
            raise ValueError(f"data of shape {pixels.shape} and type {pixels.dtype}")
    except Exception as error:  # a damaged pickle raises nearly anything
        raise UserError(f"{layout.folder}/{name}: not a CIFAR batch ({' '.join(str(error).split())[:150]})") from error
    return pixels, labels


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of dicts, lists, strings, numbers and NumPy arrays, and nothing else."""

    def find_class(self, module: str, name: str):
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return _reconstruct
        if module == "numpy" and name == "ndarray":
            return np.ndarray
        if module == "numpy" and name == "dtype":
            return np.dtype
        if module == "_codecs" and name == "encode":
            return _encode
        raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, which CIFAR's do not need")


def _reconstruct(kind: type, shape: tuple[int, ...], code: bytes) -> np.ndarray:
    """What NumPy's own function of this name does for plain arrays: an empty one, which its state then fills."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError("only plain arrays are read")
    return np.ndarray.__new__(np.ndarray, shape, code)


def _encode(text: str, encoding: str) -> bytes:
    """``_codecs.encode`` as Python 3 pickles bytes under protocol 2; no codec but latin-1 is needed."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not needed")
    return text.encode("latin-1")


def _read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error


def _read_member(archive: Path, name: str) -> bytes:
    try:
        with tarfile.open(archive) as opened:
            return opened.extractfile(name).read()
    except (KeyError, OSError, tarfile.TarError) as error:
        raise UserError(f"{archive}: {name} cannot be read ({error})") from error
