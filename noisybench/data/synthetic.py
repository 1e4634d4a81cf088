"""Made-up images that a network separates within a few epochs: for checks that must take seconds."""

from __future__ import annotations

import numpy as np
import torch

from noisybench.core import rng
from noisybench.spec.cards import DatasetCard

COARSE = 4  # side of a class's pattern before it is enlarged
PIXEL_NOISE = 20.0


def synthetic_images(card: DatasetCard) -> tuple[tuple[torch.Tensor, np.ndarray], tuple[torch.Tensor, np.ndarray]]:
    """Train and test part: N×C×H×W uint8 pixels and N int64 labels each.

    A class is a random coarse pattern; an image is its class's pattern under Gaussian pixel noise. Classes take turns,
    so the parts are balanced. Everything is a function of the card.
    """
    drawn = rng.generator(0, "synthetic", len(card.classes), card.image_size, card.channels)
    coarse = drawn.uniform(40, 216, (len(card.classes), card.channels, COARSE, COARSE))
    patterns = np.kron(coarse, np.ones((card.image_size // COARSE, card.image_size // COARSE)))
    parts = []
    for size in (card.train_size or 0, card.test_size or 0):
        labels = np.arange(size, dtype=np.int64) % len(card.classes)
        pixels = patterns[labels] + drawn.normal(0, PIXEL_NOISE, (size, *patterns.shape[1:]))
        parts.append((torch.from_numpy(np.rint(pixels).clip(0, 255).astype(np.uint8)), labels))
    train, test = parts
    return train, test
