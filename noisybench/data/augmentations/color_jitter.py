"""Colour jitter: brightness, contrast, saturation and hue by random factors, in a random order."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from noisybench.data.augmentations.base import Augmentation
from noisybench.data.augmentations.draws import Draws
from noisybench.spec.values import Settings

Strength = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class ColorJitterSettings(Settings):
    brightness: Strength = Field(default=0.4, description="factors from 1 − this (at least 0) to 1 + this")
    contrast: Strength = Field(default=0.4, description="the same")
    saturation: Strength = Field(default=0.4, description="the same; grey images stay as they are")
    hue: float = Field(default=0.0, ge=0.0, le=0.5, description="shifts from − this to this, of a whole turn")


class ColorJitter(Augmentation):
    """Change every image's brightness, contrast, saturation and hue, in an order of its own, as torchvision does."""

    Settings = ColorJitterSettings
    settings: ColorJitterSettings

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        from torchvision.transforms.v2 import functional as transforms

        settings = self.settings
        changes = [  # each with the least and the largest of its factor
            (transforms.adjust_brightness, *_around_one(settings.brightness)),
            (transforms.adjust_contrast, *_around_one(settings.contrast)),
            (transforms.adjust_saturation, *_around_one(settings.saturation)),
            (transforms.adjust_hue, -settings.hue, settings.hue),
        ]
        uniforms = draws.uniforms(2 * len(changes)).double().cpu()  # a strength and a place in the order for each
        orders = uniforms[:, len(changes) :].argsort(dim=1, stable=True).tolist()
        changed = []
        # Image by image: then what one becomes cannot depend on the batch it is in.
        for image, strengths, order in zip(images, uniforms.tolist(), orders, strict=True):
            for number in order:
                change, least, most = changes[number]
                if least < most:
                    image = change(image, least + (most - least) * strengths[number])
            changed.append(image)
        return torch.stack(changed)


def _around_one(strength: float) -> tuple[float, float]:
    return max(0.0, 1 - strength), 1 + strength
