"""From an encoded image (a file, or bytes) to the uint8 pixels a network is fed with, the same for every loader.

One rule for all images: the pixel count is checked before anything is decoded; of several frames the first is taken;
the picture is turned upright as its EXIF orientation says; more than 8 bits are scaled, not clipped; what is
transparent shows white.
"""

from __future__ import annotations

import ctypes
import io
import logging
import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import ExifTags, Image
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from noisybench.core.errors import one_line
from noisybench.spec.cards import DatasetCard
from noisybench.spec.values import PreprocessConfig

RULES = 2  # of decoding; raised whenever they give some image other pixels, so that kept pixels are not used any more

# Raster formats only. Pillow would start Ghostscript for EPS, and has decoders of rare formats that nobody watches.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")

MOST_PIXELS = 2**26  # of one image: 8192×8192
MOST_BYTES = 2**28  # of one encoded image
ROWS = 256
LARGE = 2**24  # pixels; larger images are decoded one at a time, so that threads do not add up their memory
_one_large_image = threading.Lock()

# What Pillow warns of is refused here with a line of its own, or does no harm (a damaged EXIF block).
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())  # without any, its errors go to standard error


def _quiet_libtiff() -> None:
    """Tell Pillow's libtiff to print nothing: what is wrong with a file is raised, and said by us in one line."""
    if sys.platform != "linux":  # where libraries in use are found elsewhere is not known here; lines may be printed
        return
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        found = {line.split(maxsplit=5)[-1].strip() for line in maps if "libtiff" in line}
    for file in found:
        set_handler = ctypes.CDLL(file).TIFFSetErrorHandler
        set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
        set_handler(None)


with suppress(OSError, AttributeError):
    _quiet_libtiff()

# EXIF orientation: what turns the stored picture upright.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BITS_PER_SAMPLE, TILE_WIDTH, TILE_LENGTH = 258, 322, 323  # TIFF tags


def any_size(width: int, height: int) -> None:
    """Refuses no size; see :func:`decoded`."""


@contextmanager
def decoded(encoded: bytes | str, refused: Callable[[int, int], str | None] = any_size) -> Iterator[Image.Image]:
    """Decode one image, given as a path or as the bytes of a file.

    Args:
        refused: says of a width and height what is wrong with them, if anything; asked before pixels are decoded.

    Yields:
        An upright image of mode L or RGB, 8 bits, without transparency. Of large images one is held at a time.

    Raises:
        ValueError: it cannot be decoded, is too large, or has not the size it must have; says which.
    """
    try:
        size = os.path.getsize(encoded) if isinstance(encoded, str) else len(encoded)
        if size > MOST_BYTES:
            raise _Refused(f"has {size:,} bytes; at most {MOST_BYTES:,} are read")
        with Image.open(encoded if isinstance(encoded, str) else io.BytesIO(encoded), formats=FORMATS) as opened:
            _check_size(opened, refused)
            with _in_turn(opened.width * opened.height):
                yield _plain(_upright(opened), _bits(opened))
    except _Refused:
        raise
    except Image.DecompressionBombError as error:
        raise ValueError(f"is larger than {MOST_PIXELS:,} pixels, the most that are decoded") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise ValueError(f"cannot be decoded ({_reason(error)})") from error


class _Refused(ValueError):
    """An image that could be decoded and is not wanted."""


def _check_size(image: Image.Image, refused: Callable[[int, int], str | None]) -> None:
    width, height = image.size
    if not width * height:
        raise _Refused(f"is {width}×{height} pixels")
    reason = refused(width, height)
    if reason is not None:
        raise _Refused(reason)
    if width * height > MOST_PIXELS:
        raise _Refused(f"is {width}×{height} pixels, more than {MOST_PIXELS:,}, the most that are decoded")
    if image.format == "TIFF":  # a small image may stand in a tile of any size
        sides = [float(_tags(image).get(tag, 1)) for tag in (TILE_WIDTH, TILE_LENGTH)]
        if sides[0] * sides[1] > MOST_PIXELS:
            raise _Refused(f"has tiles of more than {MOST_PIXELS:,} pixels, the most that are decoded")


@contextmanager
def _in_turn(pixels: int) -> Iterator[None]:
    """Hold large images one after the other, and give their memory back: glibc keeps a heap for every thread."""
    if pixels <= LARGE:
        yield
        return
    with _one_large_image:
        try:
            yield
        finally:
            library = ctypes.CDLL(None) if sys.platform == "linux" else None
            if library is not None and hasattr(library, "malloc_trim"):
                library.malloc_trim(0)


def _tags(image: Image.Image) -> Mapping[int, Any]:
    """A TIFF's tags by number."""
    return image.tag_v2  # type: ignore[attr-defined]  # what Image.open gives for a TIFF has them


def _bits(image: Image.Image) -> int | None:
    """Bits of a grey value where the file's format says that they are 9 to 16; None elsewhere."""
    if image.format == "TIFF":
        bits = _tags(image).get(BITS_PER_SAMPLE, (1,))[0]
        return bits if image.mode.startswith("I;16") else None
    return 16 if image.mode.startswith("I") else None


def _upright(image: Image.Image) -> Image.Image:
    """The decoded image, turned as its EXIF orientation says."""
    image.load()  # turns a TIFF by itself, and then says so
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # a damaged EXIF block raises nearly anything; the picture is whole without it
        orientation = None
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _plain(image: Image.Image, bits: int | None) -> Image.Image:
    """The same picture in mode L or RGB, 8 bits."""
    if image.mode == "F" or image.mode.startswith("I"):
        return Image.fromarray(_eight_bits(image, bits))
    if image.has_transparency_data:
        shown = image.convert("RGBA")
        ground = Image.new("RGB", image.size, "white")
        ground.paste(shown, mask=shown.getchannel("A"))
        return ground
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _eight_bits(image: Image.Image, bits: int | None) -> np.ndarray:
    """H×W uint8 of a grey image of more bits.

    Of 16 bits (PNG, TIFF, PGM): v / 257; of b bits v · 255 / (2ᵇ − 1). 32-bit integers: v · 255 / M with M the smallest
    of 255, 65,535 and 2³¹ − 1 that no value exceeds; floats likewise with 1, 255 and 65,535. Values below 0, or floats
    above 65,535: from the image's smallest to its largest value.
    """
    values = np.asarray(image)
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError("some values are no finite numbers")
    if bits is not None:
        ranges = [2.0**bits - 1]
    else:
        ranges = [1.0, 255.0, 65535.0] if image.mode == "F" else [255.0, 65535.0, 2.0**31 - 1]
    top = next((top for top in ranges if high <= top), None)
    if low >= 0 and top is not None:
        low, high = 0.0, top
    factor = 255 / (high - low) if high > low else 0.0
    grey = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), ROWS):  # some at a time: float64 takes eight bytes a pixel
        grey[start : start + ROWS] = np.rint((values[start : start + ROWS].astype(np.float64) - low) * factor)
    clear = image.info.get("transparency")  # a PNG's one transparent grey value
    return np.where(values == clear, np.uint8(255), grey) if isinstance(clear, int) else grey


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, Image.UnidentifiedImageError):
        return "no " + ", ".join(FORMATS[:-1]) + f" or {FORMATS[-1]} image, or cut off"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return one_line(error)[:100]


@dataclass(frozen=True)
class Preprocess:
    """What is done to every image once, before any augmentation.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        side: of the square result in pixels.
        shorter: resize the shorter side to this, then crop the centre; None: no crop.
        exact: of sets of one size: the image must be a square of this side.
        interpolation: that images are resized by.
        squash: photos: both sides are resized to ``shorter``.
    """

    channels: int
    side: int
    shorter: int | None = None
    exact: int | None = None
    interpolation: str = "bilinear"
    squash: bool = False

    @classmethod
    def of(
        cls, card: DatasetCard, image_size: int | None = None, asked: PreprocessConfig = PreprocessConfig()
    ) -> Preprocess:
        """The card's preprocessing; another image size scales resize and crop alike.

        Args:
            asked: what is set otherwise, for a pretrained network. With a ``crop_pct`` images are resized to
                floor(side / crop_pct), as timm does; those of sets of one size too.
        """
        side = image_size or card.image_size
        shorter = None if card.resize is None else round(card.resize * side / card.image_size)
        if asked.crop_pct is not None:
            shorter = math.floor(side / asked.crop_pct)
        return cls(
            card.channels,
            side,
            shorter=shorter,
            exact=card.image_size if card.resize is None else None,
            interpolation=asked.interpolation or "bilinear",
            squash=asked.crop_mode == "squash",
        )

    @property
    def key(self) -> str:
        """Names it, for what is kept in caches; of what was there before interpolation could be chosen, as then."""
        plain = self.interpolation == "bilinear" and not self.squash
        values = (self.channels, self.side, self.shorter, self.exact)
        return "-".join(map(str, values if plain else (*values, self.interpolation, self.squash)))

    @property
    def is_photo(self) -> bool:
        """Whether images are of any shape, and a square is cut out of each."""
        return self.exact is None and self.shorter is not None

    @property
    def shape(self) -> tuple[int, int, int]:
        """C×H×W of the result."""
        return self.channels, self.side, self.side

    def refused(self, width: int, height: int) -> str | None:
        """What is wrong with an image of this size; None if nothing is."""
        if self.exact is not None and (width, height) != (self.exact, self.exact):
            return f"is {width}×{height} pixels, not {self.exact}×{self.exact}"
        if self.shorter is not None and not self.squash:
            factor = self.shorter / min(width, height)
            if width * factor * height * factor > MOST_PIXELS:
                return f"is {width}×{height} pixels: too narrow to be resized to {self.shorter} by the shorter side"
        return None

    def __call__(self, encoded: bytes | str) -> Tensor:
        """Decode one image, given as a path or as the bytes of a file.

        Returns:
            C×side×side uint8.

        Raises:
            ValueError: it cannot be decoded, or has not the size it must have.
        """
        with decoded(encoded, self.refused) as found:
            image = found.convert("L" if self.channels == 1 else "RGB")
            if self.is_photo:
                size = [self.shorter] * (2 if self.squash else 1)
                image = transforms.resize(image, size, InterpolationMode(self.interpolation))
                image = transforms.center_crop(image, [self.side, self.side])
        pixels = torch.from_numpy(np.array(image)).reshape(image.size[1], image.size[0], self.channels)
        pixels = pixels.permute(2, 0, 1).contiguous()
        return pixels if self.is_photo else self.of_squares(pixels)

    def of_squares(self, pixels: Tensor) -> Tensor:
        """The same of square images that are decoded: …×C×h×h uint8 to …×C×side×side."""
        large = self.shorter or self.side
        if pixels.shape[-1] != large:
            pixels = transforms.resize(pixels, [large, large], InterpolationMode(self.interpolation), antialias=True)
        return transforms.center_crop(pixels, [self.side, self.side]) if large != self.side else pixels


def resized(pixels: Tensor, side: int) -> Tensor:
    """…×C×H×W uint8 to squares of another side, antialiased."""
    return transforms.resize(pixels, [side, side], antialias=True)
