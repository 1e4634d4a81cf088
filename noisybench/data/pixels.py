"""Where pixels come from: a tensor that is resident on the device, or images decoded when they are asked for."""

from __future__ import annotations

import hashlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import pyarrow.compute as pc
import torch
from torch import Tensor

from noisybench.core.errors import UserError
from noisybench.core.file_names import shown_file, written_name
from noisybench.data.decode import Preprocess

CHUNK = 256  # images decoded at a time where a whole set is


class PixelSource(ABC):
    """N images of one size, by row.

    Attributes:
        shape: (N, C, H, W).
        resident: whether all pixels are in memory.
    """

    shape: tuple[int, int, int, int]
    resident: bool

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | np.ndarray | Tensor) -> Tensor:
        """The same as :meth:`fetch`, with a slice too."""
        return self.fetch(np.arange(len(self))[rows] if isinstance(rows, slice) else rows)

    @abstractmethod
    def fetch(self, rows: np.ndarray | Tensor) -> Tensor:
        """n×C×H×W uint8: the images at these rows, in this order."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> PixelSource:
        """The source of these rows alone, in this order."""

    def to(self, device: torch.device) -> PixelSource:
        """The source with its pixels on a device, where they are resident."""
        return self

    def file(self, row: int) -> str | None:
        """The name of the file behind a row, relative to the dataset's folder; None where images are no files.

        It is text that can be written anywhere: see :func:`~noisybench.core.file_names.written_name`.
        """
        return None

    def examine(self) -> list[bytes | str]:
        """sha256 of each image's pixels, in order; for an image that cannot be decoded a line that says why."""
        return [hashlib.sha256(image.numpy().data).digest() for pixels in self.chunks() for image in pixels.cpu()]

    def chunks(self) -> Iterator[Tensor]:
        """All images in order, some at a time."""
        for start in range(0, len(self), CHUNK):
            yield self.fetch(np.arange(start, min(start + CHUNK, len(self))))


class ResidentPixels(PixelSource):
    """A uint8 tensor N×C×H×W."""

    resident = True

    def __init__(self, tensor: Tensor, files: np.ndarray | None = None):
        self.tensor = tensor
        count, channels, height, width = tensor.shape
        self.shape = (count, channels, height, width)
        self._files = files

    def fetch(self, rows: np.ndarray | Tensor) -> Tensor:
        return self.tensor.index_select(0, torch.as_tensor(rows).to(self.tensor.device))

    def take(self, rows: np.ndarray) -> ResidentPixels:
        return ResidentPixels(self.fetch(rows), None if self._files is None else self._files[rows])

    def to(self, device: torch.device) -> ResidentPixels:
        return ResidentPixels(self.tensor.to(device), self._files)

    def file(self, row: int) -> str | None:
        return None if self._files is None else written_name(self._files[row])


class ResizedPixels(PixelSource):
    """Square images in memory, resized when they are asked for: a large set of small images stays small.

    Args:
        tensor: N×C×h×h uint8.
        preprocess: what is done to them.
    """

    resident = False

    def __init__(self, tensor: Tensor, preprocess: Preprocess):
        self._tensor, self._preprocess = tensor, preprocess
        self.shape = (len(tensor), *preprocess.shape)

    def fetch(self, rows: np.ndarray | Tensor) -> Tensor:
        return self._preprocess.of_squares(self._tensor.index_select(0, torch.as_tensor(rows).cpu()))

    def take(self, rows: np.ndarray) -> ResizedPixels:
        return ResizedPixels(self._tensor.index_select(0, torch.as_tensor(rows)), self._preprocess)

    def load(self) -> ResidentPixels:
        """All of them resized, in memory."""
        tensor = torch.empty(self.shape, dtype=torch.uint8)
        for number, chunk in enumerate(self.chunks()):
            tensor[number * CHUNK : number * CHUNK + len(chunk)] = chunk
        return ResidentPixels(tensor)


def resized_source(tensor: Tensor, preprocess: Preprocess) -> PixelSource:
    """Square images in memory (N×C×h×h uint8) as the source that a preprocessing makes of them."""
    plain = preprocess.side == tensor.shape[-1] and preprocess.shorter in (None, preprocess.side)
    return ResidentPixels(tensor) if plain else ResizedPixels(tensor, preprocess)


class Encoded(Protocol):
    """Encoded images by row."""

    @property
    def files(self) -> np.ndarray | None:
        """Their names, where they are files."""

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> Sequence[bytes | str | None]:
        """Paths, or the bytes of image files; None where there are none."""

    def describe(self, row: int) -> str:
        """What to call the image of a row in a message."""


class ImageFiles:
    """Images as files below a folder.

    Names are one fixed-width byte array: a list of a million strings would be copied page by page into every decoding
    worker, because touching a Python object writes its reference count.
    """

    def __init__(self, root: str | os.PathLike, names: Sequence[str]):
        self._root = os.fsencode(root)
        self.files = np.array([os.fsencode(name) for name in names], dtype=bytes)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, rows: np.ndarray) -> list[str]:
        return [os.fsdecode(os.path.join(self._root, name)) for name in self.files[rows].tolist()]

    def describe(self, row: int) -> str:
        return shown_file(self.files[row])


class HubColumn:
    """The image column of a Hugging Face dataset's part, left encoded in its memory-mapped table.

    Only bytes are read: a cell's path could lead to any file of this machine.
    """

    files: np.ndarray | None = None

    def __init__(self, part, column: str):
        import datasets

        self._part = part.cast_column(column, datasets.Image(decode=False)).with_format("arrow")
        self._column = column

    def __len__(self) -> int:
        return len(self._part)

    def read(self, rows: np.ndarray) -> list[bytes | None]:
        cells = self._part[np.asarray(rows).tolist()].column(self._column)
        return [found for chunk in cells.chunks for found in pc.struct_field(chunk, "bytes").to_pylist()]

    def describe(self, row: int) -> str:
        return f"the image of row {row}"


class StreamedPixels(PixelSource):
    """Images decoded when they are asked for.

    Args:
        encoded: the images.
        preprocess: decodes and resizes one.
        where: what to call the set in a message.
        rows: which of the encoded images, in which order; all if not given.
        cache_key: names the whole set's decoded pixels, where they may be kept in a cache.
    """

    resident = False

    def __init__(
        self,
        encoded: Encoded,
        preprocess: Preprocess,
        where: str,
        rows: np.ndarray | None = None,
        cache_key: str | None = None,
    ):
        self._encoded, self._preprocess, self.where = encoded, preprocess, where
        self.cache_key = cache_key
        self._rows = np.arange(len(encoded)) if rows is None else rows
        self.shape = (len(self._rows), *preprocess.shape)

    def fetch(self, rows: np.ndarray | Tensor) -> Tensor:
        found = self._rows[torch.as_tensor(rows).cpu().numpy()]
        pixels = torch.empty(len(found), *self.shape[1:], dtype=torch.uint8)
        for place, encoded in enumerate(self._encoded.read(found)):
            try:
                pixels[place] = self._decode(encoded)
            except ValueError as error:
                raise UserError(f"{self.where}: {self._encoded.describe(int(found[place]))} {error}") from error
        return pixels

    def take(self, rows: np.ndarray) -> StreamedPixels:
        return StreamedPixels(self._encoded, self._preprocess, self.where, self._rows[rows])

    def file(self, row: int) -> str | None:
        return None if self._encoded.files is None else written_name(self._encoded.files[self._rows[row]])

    def broken(self) -> list[str]:
        """One line for every image that cannot be decoded. Decodes them all, in threads."""
        return [found for chunk in self._decode_all() for found in chunk if isinstance(found, str)]

    def examine(self) -> list[bytes | str]:
        return [
            found if isinstance(found, str) else hashlib.sha256(found.numpy().data).digest()
            for chunk in self._decode_all()
            for found in chunk
        ]

    def load(self) -> ResidentPixels:
        """Decode everything into memory, in threads.

        Raises:
            UserError: some images cannot be decoded; names the first, and how many there are.
        """
        tensor = torch.empty(self.shape, dtype=torch.uint8)
        lines: list[str] = []
        for number, chunk in enumerate(self._decode_all()):
            lines += [item for item in chunk if isinstance(item, str)]
            if not lines:
                images = [item for item in chunk if isinstance(item, Tensor)]
                tensor[number * CHUNK : number * CHUNK + len(chunk)] = torch.stack(images)
        refuse_broken(self.where, lines, len(self))
        files = self._encoded.files
        return ResidentPixels(tensor, None if files is None else files[self._rows])

    def _decode(self, encoded: bytes | str | None) -> Tensor:
        if encoded is None:
            raise ValueError("holds no bytes of an image (paths are not followed)")
        return self._preprocess(encoded)

    def _decode_all(self) -> Iterator[list[Tensor | str]]:
        """All images in order, some at a time: the pixels, or why there are none."""

        def decode(pair: tuple[int, bytes | str | None]) -> Tensor | str:
            try:
                return self._decode(pair[1])
            except ValueError as error:
                return f"{self._encoded.describe(int(pair[0]))} {error}"

        with ThreadPoolExecutor() as pool:
            for start in range(0, len(self), CHUNK):
                rows = self._rows[start : start + CHUNK]
                yield list(pool.map(decode, zip(rows, self._encoded.read(rows), strict=True)))


def refuse_broken(where: str, lines: list[str], total: int) -> None:
    """Raise if there are images that cannot be decoded: one line with the first of them and their number."""
    if lines:
        more = f" ({len(lines)} of {total} images are bad)" if len(lines) > 1 else f" (1 of {total} images is bad)"
        raise UserError(f"{where}: {lines[0]}{more}")
