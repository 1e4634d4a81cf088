"""Features kept on disk: one memory-mapped file for each part and view, with a hash for each of its chunks.

A file is written chunk by chunk and its hashes beside it, so that a computation that was killed goes on where it was.
Of processes that want the same features one computes them and the others wait.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import torch
from torch import Tensor

from noisybench.core.errors import UserError, one_line
from noisybench.core.files import read_regular, write_json
from noisybench.data.cache import cache_folder

CHUNK = 2048  # rows written and hashed at a time
MOST_DESCRIPTION = 2**26  # bytes of a file of hashes: enough for 10⁸ rows
TYPES = {"float16": (np.float16, torch.float16), "float32": (np.float32, torch.float32)}


@dataclass(frozen=True)
class FeatureFile:
    """Features of the images of one part, in its order.

    Attributes:
        name: of the file, without its ending; two different computations have different names.
        rows: n.
        width: D, values a row.
        dtype: ``"float16"`` or ``"float32"``.
    """

    name: str
    rows: int
    width: int
    dtype: str

    @property
    def file(self) -> Path:
        return cache_folder() / "features" / f"{self.name}.bin"

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.rows * self.width * np.dtype(TYPES[self.dtype][0]).itemsize

    @property
    def _hashes(self) -> Path:
        return self.file.with_suffix(".json")

    @property
    def _partial(self) -> Path:
        return self.file.with_suffix(".partial")

    @property
    def _partial_hashes(self) -> Path:
        return self.file.with_suffix(".partial-hashes")

    def is_there(self) -> bool:
        """Whether it has been computed."""
        return self._hashes.is_file() and self.file.is_file()

    def open(self) -> Tensor:
        """n×D in ``dtype``, memory-mapped and read-only in spirit; every chunk has been compared with its hash.

        Raises:
            UserError: the file is damaged.
        """
        try:
            kept = json.loads(read_regular(self._hashes, MOST_DESCRIPTION))
            table = self._mapped(self.file)
            hashes = kept["chunks"]
            wrong = next((i for i, part in enumerate(self._chunks(table)) if _hash(part) != hashes[i]), None)
            if wrong is None and len(hashes) == self._number:
                return torch.from_numpy(table)
            what = f"chunk {wrong} has another hash" if wrong is not None else "it has other chunks"
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            what = one_line(error)[:120]
        raise UserError(f"{self.file}: damaged features ({what}): delete it, and they are computed again")

    def make(self, compute: Callable[[int, int], Tensor], waiting: Callable[[], None]) -> None:
        """Compute and write it, unless it is there when this process's turn comes.

        Args:
            compute: from rows (first, end) to their features.
            waiting: called once where another process computes the same now.

        Raises:
            UserError: it cannot be written: the folder is missing, the disk is full.
        """
        with self._written(), self._alone(waiting):
            if self.is_there():
                return
            done = self._resumed()
            with open(self._partial, "r+b" if done else "wb") as stream, open(self._partial_hashes, "a") as hashes:
                row_bytes = self.size // max(self.rows, 1)
                stream.seek(len(done) * CHUNK * row_bytes)
                stream.truncate()
                for first in range(len(done) * CHUNK, self.rows, CHUNK):
                    part = compute(first, min(first + CHUNK, self.rows)).numpy()
                    stream.write(part.tobytes())
                    stream.flush()
                    os.fsync(stream.fileno())
                    hashes.write(_hash(part) + "\n")
                    hashes.flush()
            os.replace(self._partial, self.file)
            write_json(self._hashes, {"chunks": self._partial_hashes.read_text().split()})
            self._partial_hashes.unlink()

    def _resumed(self) -> list[str]:
        """The hashes of the chunks that an earlier computation has written whole; what comes after them is dropped."""
        good: list[str] = []
        with contextlib.suppress(OSError, ValueError):
            hashes = self._partial_hashes.read_text().split()
            row_bytes = self.size // max(self.rows, 1)
            with open(self._partial, "rb") as stream:
                for number, stated in enumerate(hashes):
                    content = stream.read(min(CHUNK, self.rows - number * CHUNK) * row_bytes)
                    if hashlib.sha256(content).hexdigest() != stated:
                        break
                    good.append(stated)
        if self._partial_hashes.exists():
            self._partial_hashes.write_text("".join(f"{line}\n" for line in good))
        return good

    @property
    def _number(self) -> int:
        return -(-self.rows // CHUNK)

    def _mapped(self, file: Path) -> np.ndarray:
        found = os.path.getsize(file)
        if found != self.size:
            raise ValueError(f"{found:,} bytes, not {self.size:,}")
        # Copy on write: torch wants memory that may be written, and the file stays as it is.
        return np.memmap(file, dtype=TYPES[self.dtype][0], mode="c", shape=(self.rows, self.width))

    def _chunks(self, table: np.ndarray) -> Iterator[np.ndarray]:
        return (table[first : first + CHUNK] for first in range(0, self.rows, CHUNK))

    @contextlib.contextmanager
    def _alone(self, waiting: Callable[[], None]) -> Iterator[None]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(self.file.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            waiting()
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = (error.strerror or one_line(error)).lower()
            raise UserError(
                f"{self.file}: features ({self.size / 2**20:,.0f} MiB) cannot be written ({reason}); they lie below "
                f"NOISYBENCH_CACHE, and what is computed already is kept"
            ) from error


def _hash(part: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(part).data).hexdigest()
