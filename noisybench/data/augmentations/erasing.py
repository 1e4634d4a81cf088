"""Augmentations that hide a part of the image: random erasing and cutout. They come after all others."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from noisybench.data.augmentations.base import Augmentation
from noisybench.data.augmentations.draws import Draws
from noisybench.data.augmentations.rectangles import DRAWS, AreaSettings, Share, drawn_boxes, inside
from noisybench.spec.values import Settings

Grey = Annotated[int, Field(ge=0, le=255)]


class RandomErasingSettings(AreaSettings):
    probability: float = Field(default=0.5, ge=0.0, le=1.0, description="of every image")
    least: Share = Field(default=0.02, description="the smallest part of the area")
    most: Share = Field(default=1 / 3, description="the largest part of the area")
    ratio: float = Field(
        default=1 / 0.3, ge=1.0, le=100.0, description="the largest width / height, and height / width"
    )
    fill: Literal["noise"] | Grey = Field(default="noise", description="a value for each pixel, or one from 0 to 255")


class RandomErasing(Augmentation):
    """Fill a random rectangle of every second image with noise (Zhong et al. 2020, arXiv 1708.04896).

    An image of which no attempt fits stays whole.
    """

    Settings = RandomErasingSettings
    settings: RandomErasingSettings
    order = 1

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        tall, wide = images.shape[-2:]
        uniforms = draws.uniforms(DRAWS + 1).cpu()
        boxes, fits = drawn_boxes(uniforms, (tall, wide), self.settings)
        erased = fits & (uniforms[:, DRAWS].double() < self.settings.probability)
        hidden = inside(images, boxes) & erased.to(images.device)[:, None, None]
        if self.settings.fill != "noise":
            return images.masked_fill(hidden[:, None], self.settings.fill)
        seeds = draws.seeds()
        for number in erased.nonzero()[:, 0].tolist():
            own = torch.Generator().manual_seed(seeds[number])
            noise = torch.randint(256, images.shape[1:], dtype=torch.uint8, generator=own)
            images[number] = torch.where(hidden[number], noise.to(images.device), images[number])
        return images


class CutoutSettings(Settings):
    size: int = Field(default=16, ge=1, description="side of the square in pixels")
    fill: Grey = Field(default=127, description="from 0 to 255; the source fills with the data's mean")


class Cutout(Augmentation):
    """Hide a square around a random pixel of every image; its edge may lie outside (DeVries & Taylor, 1708.04552)."""

    Settings = CutoutSettings
    settings: CutoutSettings
    order = 1

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        size, (tall, wide) = self.settings.size, images.shape[-2:]
        corners = (draws.uniforms(2).cpu() * torch.tensor([tall, wide])).long() - size // 2
        boxes = torch.cat([corners, torch.full_like(corners, size)], dim=1)
        return images.masked_fill(inside(images, boxes)[:, None], self.settings.fill)
