"""Augmentations of training images, each with draws of its own. ``noisybench.data.augment`` puts them together."""

from noisybench.data.augmentations.base import Augmentation
from noisybench.data.augmentations.draws import Draws

__all__ = ["Augmentation", "Draws"]
