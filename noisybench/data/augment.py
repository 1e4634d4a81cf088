"""Training augmentation as batched tensor operations; every draw is looked up by the sample's own index."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench import rng
from noisybench.config import AugmentConfig

DRAWS = 4  # crop row, crop column, horizontal flip, vertical flip
KEPT_TABLES = 8  # views of one pass and of the pass that accompanies it


class Augmenter:
    """Augments batches of uint8 images.

    The draws of an epoch are one table with a row per sample of the dataset, so a sample's augmentation is a function
    of (seed, purpose, epoch, sample index) whatever the batch, its order or the number of processes.
    """

    def __init__(self, config: AugmentConfig, num_samples: int, seed: int, purpose: str, device: torch.device):
        self._config = config
        self._num_samples = num_samples
        self._seed = seed
        self._purpose = purpose
        self._device = device
        self._tables: dict[tuple[int, ...], Tensor] = {}

    def __call__(self, images: Tensor, sample: Tensor, occasion: tuple[int, ...]) -> Tensor:
        """Augment a batch.

        Args:
            images: N×C×H×W uint8.
            sample: N int64, the dataset's own indices.
            occasion: key of the draws besides the sample: epoch, pass, view and so on.
        """
        config = self._config
        if not (config.crop_padding or config.horizontal_flip or config.vertical_flip):
            return images
        draws = self._table(occasion)[sample]
        if config.crop_padding:
            images = crop(images, config.crop_padding, draws[:, 0], draws[:, 1])
        if config.horizontal_flip:
            images = torch.where((draws[:, 2] < 0.5)[:, None, None, None], images.flip(3), images)
        if config.vertical_flip:
            images = torch.where((draws[:, 3] < 0.5)[:, None, None, None], images.flip(2), images)
        return images

    def key(self, occasion: tuple[int, ...]) -> tuple:
        """Arguments of :func:`rng.key` for further draws of an occasion, before the sample."""
        return self._seed, f"{self._purpose}-strong", *occasion

    def _table(self, occasion: tuple[int, ...]) -> Tensor:
        if occasion not in self._tables:
            while len(self._tables) >= KEPT_TABLES:
                del self._tables[next(iter(self._tables))]
            draws = rng.uniforms((self._num_samples, DRAWS), self._seed, self._purpose, *occasion)
            self._tables[occasion] = torch.from_numpy(draws).to(self._device)
        return self._tables[occasion]


def strengthen(images: Tensor, sample: Tensor, key: tuple) -> Tensor:
    """RandAugment (Cubuk et al. 2020; torchvision's, two operations of magnitude 9) of every image by itself.

    torchvision draws from the global CPU generator: it is set from each sample's own key and put back afterwards, so
    that neither the batch nor the number of workers can change what a sample gets.

    Args:
        images: N×C×H×W uint8.
        sample: N int64, the dataset's own indices.
        key: arguments of :func:`rng.key` before the sample.
    """
    from torchvision.transforms.v2 import RandAugment

    augment = RandAugment()
    before = torch.get_rng_state()
    try:
        strong = []
        for image, number in zip(images, sample.tolist(), strict=True):
            torch.default_generator.manual_seed(rng.key(*key, number))
            strong.append(augment(image))
    finally:
        torch.set_rng_state(before)
    return torch.stack(strong)


def crop(images: Tensor, padding: int, rows: Tensor, columns: Tensor) -> Tensor:
    """Zero-pad by ``padding`` and crop back to the old size at offsets given as fractions in [0, 1).

    Args:
        images: N×C×H×W.
        rows, columns: N float, 0 is the top (left) most offset of 2·padding + 1.
    """
    height, width = images.shape[2:]
    padded = F.pad(images, (padding,) * 4)
    offsets = 2 * padding + 1
    top = (rows * offsets).long()[:, None] + torch.arange(height, device=images.device)
    left = (columns * offsets).long()[:, None] + torch.arange(width, device=images.device)
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[batch, top[:, :, None], left[:, None, :]].permute(0, 3, 1, 2)


class Normalizer:
    """uint8 images to floats with the dataset's mean and standard deviation (per channel, of values in [0, 1])."""

    def __init__(self, mean: list[float], std: list[float], device: torch.device, dtype: torch.dtype):
        self.device = device
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self._scale = scale.to(device, dtype)[:, None, None]
        self._shift = shift.to(device, dtype)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        return torch.addcmul(self._shift, images.to(self._scale.dtype), self._scale)
