"""Augmentations that move pixels and change none: a random crop, and flips.

Each says where the rows and columns of its result come from. Several in a row are one gather, whatever their number.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from noisybench.data.augmentations.base import Augmentation
from noisybench.data.augmentations.draws import Draws
from noisybench.spec.values import Settings


class Placement(Augmentation):
    """Moves whole rows and whole columns."""

    @property
    def reach(self) -> int:
        """How many pixels beyond the image's edge a place may lie; it is black there."""
        return 0

    @abstractmethod
    def places(self, rows: Tensor, columns: Tensor, size: tuple[int, int], draws: Draws) -> tuple[Tensor, Tensor]:
        """Where rows and columns of the result lie in the image that it is made from.

        Args:
            rows: N×H int64, rows of the result, counted from 0 in an image with a margin on all sides.
            columns: N×W int64, the same of columns.
            size: height and width with the margin, which is as wide as all placements reach.
        """

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        return move(images, [(self, draws)])


class CropSettings(Settings):
    padding: int = Field(default=4, ge=0, description="pixels of zero padding at each edge")


class Crop(Placement):
    """Zero-pad, then crop back to the old size at a random place; every offset is equally likely."""

    Settings = CropSettings
    settings: CropSettings

    @property
    def reach(self) -> int:
        return self.settings.padding

    def places(self, rows: Tensor, columns: Tensor, size: tuple[int, int], draws: Draws) -> tuple[Tensor, Tensor]:
        offsets = (draws.uniforms(2) * (2 * self.reach + 1)).long() - self.reach
        return rows + offsets[:, :1], columns + offsets[:, 1:]


class HorizontalFlip(Placement):
    """Mirror every second image, at random."""

    def places(self, rows: Tensor, columns: Tensor, size: tuple[int, int], draws: Draws) -> tuple[Tensor, Tensor]:
        return rows, torch.where(draws.uniforms(1) < 0.5, size[1] - 1 - columns, columns)


class VerticalFlip(Placement):
    """Turn every second image upside down, at random."""

    def places(self, rows: Tensor, columns: Tensor, size: tuple[int, int], draws: Draws) -> tuple[Tensor, Tensor]:
        return torch.where(draws.uniforms(1) < 0.5, size[0] - 1 - rows, rows), columns


def move(images: Tensor, steps: Sequence[tuple[Placement, Draws]]) -> Tensor:
    """Several placements, the first one first.

    Args:
        images: N×C×H×W.
        steps: each with its draws for these images.
    """
    count, channels, height, width = images.shape
    reach = sum(placement.reach for placement, _ in steps)
    tall, wide = height + 2 * reach, width + 2 * reach
    rows, columns = (
        torch.arange(reach, reach + size, device=images.device).expand(count, size) for size in (height, width)
    )
    in_order = rows
    # A pixel of the result is followed back to the image: through the last placement first.
    for placement, draws in reversed(steps):
        rows, columns = placement.places(rows, columns, (tall, wide), draws)
    if reach:
        images = F.pad(images, (reach,) * 4)
    if reach or rows is not in_order:  # whole rows first, which are copied in one piece each; then columns
        of_image = torch.arange(count * channels, device=images.device).view(count, channels, 1) * tall
        images = images.reshape(-1, wide).index_select(0, (of_image + rows[:, None]).flatten())
        images = images.view(count, channels, height, wide)
    return images.gather(3, columns[:, None, None].expand(count, channels, height, width))
