"""Random resized crop (Szegedy et al. 2015, arXiv 1409.4842): a part of the image by area and shape, made full size."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from noisybench.data.augmentations.base import Augmentation
from noisybench.data.augmentations.draws import Draws
from noisybench.data.augmentations.rectangles import DRAWS, AreaSettings, Share, drawn_boxes


class RandomResizedCropSettings(AreaSettings):
    least: Share = Field(default=0.08, description="the smallest part of the area")
    most: Share = Field(default=1.0, description="the largest part of the area")
    ratio: float = Field(default=4 / 3, ge=1.0, le=100.0, description="the largest width / height, and height / width")
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"


class RandomResizedCrop(Augmentation):
    """Cut a random part out of every image, by area and aspect ratio, and resize it to the image's size.

    It is cut out of the image as it was prepared, so its detail is that of ``image_size``. Comes before all others but
    crop and flips. Where no attempt fits, the middle is taken, as large as its shape may be.
    """

    Settings = RandomResizedCropSettings
    settings: RandomResizedCropSettings
    order = -1

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        from torchvision.transforms.v2 import InterpolationMode
        from torchvision.transforms.v2 import functional as transforms

        tall, wide = images.shape[-2:]
        boxes, fits = drawn_boxes(draws.uniforms(DRAWS).cpu(), (tall, wide), self.settings)
        boxes[~fits] = torch.tensor(self._central(tall, wide))
        mode = InterpolationMode(self.settings.interpolation)
        # Image by image: then what one becomes cannot depend on the batch it is in.
        parts = [
            transforms.resized_crop(image, *box, [tall, wide], mode, antialias=True)
            for image, box in zip(images, boxes.tolist(), strict=True)
        ]
        return torch.stack(parts)

    def _central(self, tall: int, wide: int) -> list[int]:
        """The largest part of an allowed shape, in the middle."""
        height = min(tall, round(wide * self.settings.ratio))
        width = min(wide, round(tall * self.settings.ratio))
        return [(tall - height) // 2, (wide - width) // 2, height, width]
