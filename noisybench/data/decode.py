"""From an encoded image (a file, or bytes) to the uint8 pixels a network is fed with, the same for every loader."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from noisybench.spec.cards import DatasetCard


@dataclass(frozen=True)
class Preprocess:
    """What is done to every image once, before any augmentation.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        side: of the square result in pixels.
        shorter: photos: resize the shorter side to this, then crop the centre.
        exact: other sets: the image must be a square of this side; it is resized to ``side``.
    """

    channels: int
    side: int
    shorter: int | None = None
    exact: int | None = None

    @classmethod
    def of(cls, card: DatasetCard, image_size: int | None) -> Preprocess:
        """The card's preprocessing; another image size scales resize and crop alike."""
        side = image_size or card.image_size
        if card.resize is None:
            return cls(card.channels, side, exact=card.image_size)
        return cls(card.channels, side, shorter=round(card.resize * side / card.image_size))

    @property
    def shape(self) -> tuple[int, int, int]:
        """C×H×W of the result."""
        return self.channels, self.side, self.side

    def __call__(self, encoded: bytes | str) -> Tensor:
        """Decode one image, given as a path or as the bytes of a file.

        Returns:
            C×side×side uint8.

        Raises:
            ValueError: it cannot be decoded, or has not the size it must have.
        """
        try:
            with Image.open(encoded if isinstance(encoded, str) else io.BytesIO(encoded)) as opened:
                image = opened.convert("L" if self.channels == 1 else "RGB")
        except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError) as error:
            raise ValueError(f"cannot be decoded ({_reason(error)})") from error
        if self.exact is not None and image.size != (self.exact, self.exact):
            raise ValueError(f"is {image.size[0]}×{image.size[1]} pixels, not {self.exact}×{self.exact}")
        if self.shorter is not None:
            image = transforms.center_crop(transforms.resize(image, [self.shorter]), [self.side, self.side])
        pixels = torch.from_numpy(np.array(image)).reshape(image.size[1], image.size[0], self.channels)
        pixels = pixels.permute(2, 0, 1).contiguous()
        return resized(pixels, self.side) if pixels.shape[-1] != self.side else pixels


def resized(pixels: Tensor, side: int) -> Tensor:
    """…×C×H×W uint8 to squares of another side, antialiased."""
    return transforms.resize(pixels, [side, side], antialias=True)


def _reason(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    return " ".join(str(error).split())[:100] or type(error).__name__
