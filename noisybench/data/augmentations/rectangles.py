"""Random rectangles within images, by their share of the area and their aspect ratio."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field, model_validator
from torch import Tensor

from noisybench.spec.values import Settings

ATTEMPTS = 10  # as torchvision and timm
DRAWS = 2 * ATTEMPTS + 2  # of each image: area and shape of each attempt, then the place
Share = Annotated[float, Field(gt=0.0, le=1.0)]


class AreaSettings(Settings):
    """Settings of an augmentation that draws rectangles; a subclass gives the fields their defaults."""

    least: Share = Field(description="the smallest part of the area")
    most: Share = Field(description="the largest part of the area")
    ratio: float = Field(ge=1.0, le=100.0, description="the largest width / height, and the largest height / width")

    @model_validator(mode="after")
    def _in_order(self):
        if self.least > self.most:
            raise ValueError(f"least {self.least:g} is larger than most {self.most:g}")
        return self


def drawn_boxes(uniforms: Tensor, size: tuple[int, int], settings: AreaSettings) -> tuple[Tensor, Tensor]:
    """Rectangles by draws: of each image the first attempt that lies within it.

    Area is uniform, the logarithm of width / height too, the place too.

    Args:
        uniforms: N×``DRAWS`` in [0, 1), on the CPU.
        size: height and width of the images.

    Returns:
        N×4 int64: top, left, height, width; and N bool, whether any attempt lay within the image.
    """
    tall, wide = size
    u = uniforms.double()
    area = tall * wide * (settings.least + u[:, 0 : 2 * ATTEMPTS : 2] * (settings.most - settings.least))
    shape = ((2 * u[:, 1 : 2 * ATTEMPTS : 2] - 1) * math.log(settings.ratio)).exp()
    widths, heights = (area * shape).sqrt().round().long(), (area / shape).sqrt().round().long()
    fits = (widths > 0) & (widths <= wide) & (heights > 0) & (heights <= tall)
    first = fits.int().argmax(1)[:, None]
    width, height = widths.gather(1, first)[:, 0], heights.gather(1, first)[:, 0]
    top = (u[:, 2 * ATTEMPTS] * (tall - height + 1)).long()
    left = (u[:, 2 * ATTEMPTS + 1] * (wide - width + 1)).long()
    return torch.stack([top, left, height, width], dim=1), fits.any(1)


def inside(images: Tensor, boxes: Tensor) -> Tensor:
    """N×H×W bool, on the images' device: what lies within each image's rectangle, which may reach over its edges.

    Args:
        boxes: N×4 int64: top, left, height, width.
    """
    top, left, height, width = boxes.to(images.device)[:, :, None].unbind(1)
    rows, columns = (torch.arange(size, device=images.device) for size in images.shape[-2:])
    in_rows = (rows >= top) & (rows < top + height)
    in_columns = (columns >= left) & (columns < left + width)
    return in_rows[:, :, None] & in_columns[:, None, :]
