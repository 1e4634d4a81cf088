"""Training augmentation as batched tensor operations; every draw is looked up by the sample's own index."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.core import rng
from noisybench.spec.values import AugmentConfig

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
        return crop(
            images,
            config.crop_padding,
            draws[:, 0],
            draws[:, 1],
            mirrored=draws[:, 2] < 0.5 if config.horizontal_flip else None,
            upside_down=draws[:, 3] < 0.5 if config.vertical_flip else None,
        )

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


def crop(
    images: Tensor,
    padding: int,
    rows: Tensor,
    columns: Tensor,
    *,
    mirrored: Tensor | None = None,
    upside_down: Tensor | None = None,
) -> Tensor:
    """Zero-pad by ``padding``, crop back to the old size at offsets given as fractions in [0, 1), and flip.

    Args:
        images: N×C×H×W.
        rows, columns: N float, 0 is the top (left) most offset of 2·padding + 1.
        mirrored, upside_down: N bool, which crops to flip; none if not given.
    """
    count, channels, height, width = images.shape
    device, offsets = images.device, 2 * padding + 1
    if padding:
        images = F.pad(images, (padding,) * 4)
    tall, wide = images.shape[2:]

    def places(fractions: Tensor, size: int, reversed_: Tensor | None) -> Tensor:
        """N×size: where the crop's rows (columns) are in the padded image."""
        place = torch.arange(size, device=device).expand(count, size)
        if reversed_ is not None:
            place = torch.where(reversed_[:, None], place.flip(1), place)
        return (fractions * offsets).long()[:, None] + place

    # Whole rows first, which are copied in one piece each; then columns.
    top = places(rows, height, upside_down)
    of_image = torch.arange(count * channels, device=device).view(count, channels, 1) * tall
    kept = images.reshape(-1, wide).index_select(0, (of_image + top[:, None]).flatten())
    left = places(columns, width, mirrored)[:, None, None].expand(count, channels, height, width)
    return kept.view(count, channels, height, wide).gather(3, left)


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
