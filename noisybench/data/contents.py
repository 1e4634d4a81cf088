"""What image files hold: hashes of the bytes and of the picture. Each file is decoded once, and that is remembered.

So every image is known to decode before training starts, a dataset's fingerprint follows the content of its files, and
the same picture is found wherever it stands. The memory of a folder is one file of the cache; a file is looked at again
if its size, time of change, or place on the disk is another. The time of change (``st_ctime``) is set by the kernel, so
that a file which was replaced and given its old time of modification is looked at again too.
"""

from __future__ import annotations

import hashlib
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from noisybench.data.cache import cache_folder, write_cached
from noisybench.data.decode import ROWS, RULES, any_size, decoded

CHUNK = 256  # files looked at between two looks at the memory they take
SETTLED = 2 * 10**9  # ns: a file changed later than so long ago may change again without showing it


@dataclass
class Contents:
    """What N image files hold.

    Attributes:
        hashes: N×32 uint8, sha256 of each file's bytes.
        pictures: N×32 uint8, sha256 of each picture's size and upright 8-bit RGB pixels.
        broken: by row, why an image cannot be used.
    """

    hashes: np.ndarray
    pictures: np.ndarray
    broken: dict[int, str] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> Contents:
        """What the files of these rows hold."""
        places = {int(row): place for place, row in enumerate(rows)}
        broken = {places[row]: reason for row, reason in self.broken.items() if row in places}
        return Contents(self.hashes[rows], self.pictures[rows], broken)


def look(
    root: Path,
    names: Sequence[str],
    refused: Callable[[int, int], str | None] = any_size,
    *,
    fresh: bool = False,
) -> Contents:
    """Find out what files hold, from memory or by decoding them in threads.

    Args:
        root: the folder that the names are relative to.
        refused: says of an image's width and height what is wrong with them, if anything.
        fresh: trust no memory.
    """
    memory = _Memory(root)
    raw = np.array([os.fsencode(name) for name in names], dtype=bytes)
    states = np.array([_state(root / name) for name in names], dtype=np.int64).reshape(-1, 4)
    known = np.zeros(len(names), dtype=bool)
    found, sizes = np.zeros((len(names), 64), dtype=np.uint8), np.zeros((len(names), 2), dtype=np.int64)
    if not fresh:
        known, found, sizes = memory.recall(raw, states)
    broken: dict[int, str] = {}
    begun = time.time_ns()
    unknown = np.flatnonzero(~known)
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(unknown), CHUNK):
            rows = unknown[start : start + CHUNK].tolist()
            for row, seen in zip(rows, pool.map(_look_at, [root / names[row] for row in rows]), strict=True):
                if isinstance(seen, str):
                    broken[row] = seen
                else:
                    found[row], sizes[row] = np.frombuffer(seen[0], dtype=np.uint8), seen[1]
    kept = np.flatnonzero(states[:, 2] < begun - SETTLED) if len(unknown) else unknown
    kept = kept[[int(row) not in broken for row in kept]] if len(kept) else kept
    if len(unknown):
        memory.keep(raw[kept], states[kept], found[kept], sizes[kept])
    for row, (width, height) in enumerate(sizes.tolist()):
        reason = refused(width, height) if row not in broken else None
        if reason is not None:
            broken[row] = reason
    return Contents(found[:, :32], found[:, 32:], dict(sorted(broken.items())))


def picture_hash(image: Image.Image) -> bytes:
    """sha256 of an upright 8-bit image: its size and its RGB pixels."""
    digest = hashlib.sha256(f"{image.width}x{image.height}".encode())
    for top in range(0, image.height, ROWS):  # some rows at a time: a copy of them is made
        strip = image.crop((0, top, image.width, min(top + ROWS, image.height)))
        digest.update(strip.convert("RGB").tobytes())
    return digest.digest()


def _state(file: Path) -> tuple[int, int, int, int]:
    """What changes when a file does."""
    try:
        found = os.stat(file)
    except OSError:
        return (-1, 0, 0, 0)  # it is missing: looking at it says so
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino % 2**63)


def _look_at(file: Path) -> tuple[bytes, tuple[int, int]] | str:
    """Both hashes and the size of the picture; or what is wrong with the file."""
    try:
        with decoded(os.fspath(file)) as image:
            size, picture = image.size, picture_hash(image)
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").digest() + picture, size
    except (OSError, ValueError) as error:
        return str(error)


class _Memory:
    """What is known of the files below a folder: names, states, hashes and sizes, row by row."""

    def __init__(self, root: Path):
        place = hashlib.sha256(os.fsencode(os.path.realpath(root))).hexdigest()
        self._file = cache_folder() / "seen" / f"{place}-rules{RULES}.npz"

    def recall(self, names: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Which of the files are known as they are (N bool), and their hashes and sizes."""
        kept = self._read()
        if not len(kept["names"]):
            nothing = np.zeros(len(names), dtype=np.int64)
            return nothing > 0, np.zeros((len(names), 64), dtype=np.uint8), np.stack([nothing, nothing], axis=1)
        order = np.argsort(kept["names"], kind="stable")
        places = order[np.searchsorted(kept["names"], names, sorter=order) % len(order)]
        known = (kept["names"][places] == names) & (kept["states"][places] == states).all(axis=1)
        return known, kept["hashes"][places], kept["sizes"][places]

    def keep(self, names: np.ndarray, states: np.ndarray, hashes: np.ndarray, sizes: np.ndarray) -> None:
        """Remember these files, and what was known of others."""
        old = self._read()
        others = ~np.isin(old["names"], names)
        new = {"names": names, "states": states, "hashes": hashes, "sizes": sizes}
        merged: dict[str, Any] = {key: np.concatenate([old[key][others], value]) for key, value in new.items()}

        def write(temporary: Path) -> None:
            with open(temporary, "wb") as opened:
                np.savez(opened, **merged)

        write_cached(self._file, write)

    def _read(self) -> dict[str, np.ndarray]:
        empty = {
            "names": np.zeros(0, dtype=bytes),
            "states": np.zeros((0, 4), dtype=np.int64),
            "hashes": np.zeros((0, 64), dtype=np.uint8),
            "sizes": np.zeros((0, 2), dtype=np.int64),
        }
        try:
            with np.load(self._file, allow_pickle=False) as stored:
                found = {key: stored[key] for key in empty}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            return empty  # there is none, or it is damaged: everything is looked at again
        alike = {len(array) for array in found.values()}
        fits = all(found[key].dtype.kind == empty[key].dtype.kind for key in empty)
        fits &= all(found[key].shape[1:] == empty[key].shape[1:] for key in empty)
        return found if len(alike) == 1 and fits else empty
