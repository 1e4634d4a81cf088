"""RandAugment (Cubuk et al. 2020), torchvision's, image by image."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from noisybench.data.augmentations.base import Augmentation
from noisybench.data.augmentations.draws import Draws
from noisybench.spec.values import Settings


class RandAugmentSettings(Settings):
    operations: int = Field(default=2, ge=1, description="how many operations each image goes through")
    magnitude: int = Field(default=9, ge=0, le=30, description="how strong they are, of 31 bins")


class RandAugment(Augmentation):
    """RandAugment of every image by itself: the strong view of methods that declare one.

    torchvision draws from the global CPU generator: it is set from each sample's own seed and put back afterwards, so
    that neither the batch nor the number of workers can change what a sample gets.
    """

    Settings = RandAugmentSettings
    settings: RandAugmentSettings

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        from torchvision.transforms.v2 import RandAugment as OfTorchvision

        augment = OfTorchvision(self.settings.operations, self.settings.magnitude)
        before = torch.get_rng_state()
        try:
            strong = []
            for image, seed in zip(images, draws.seeds(), strict=True):
                torch.default_generator.manual_seed(seed)
                strong.append(augment(image))
        finally:
            torch.set_rng_state(before)
        return torch.stack(strong)
