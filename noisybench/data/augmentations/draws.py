"""The random draws of one augmentation, keyed: no other augmentation, batch, worker or process can move them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from noisybench.core import rng

KEPT_TABLES = 8  # views of one pass and of the pass that accompanies it


class DrawTables:
    """An augmentation's draws over a whole dataset, as tables with a row for each sample.

    Args:
        num_samples: of the dataset that samples are numbered in.
        key: arguments of :func:`rng.key` before the occasion: seed, purpose and the augmentation's name.
        device: where tables are used.
    """

    def __init__(self, num_samples: int, key: tuple[int, str, *tuple[int | str, ...]], device: torch.device):
        self.key = key
        self._num_samples, self._device = num_samples, device
        self._tables: dict[tuple[int, ...], Tensor] = {}

    def uniforms(self, occasion: tuple[int, ...], count: int) -> Tensor:
        """num_samples×count float32 in [0, 1) for an occasion."""
        found = self._tables.get(occasion)
        if found is None or found.shape[1] != count:
            self._tables.pop(occasion, None)
            while len(self._tables) >= KEPT_TABLES:
                del self._tables[next(iter(self._tables))]
            drawn = rng.uniforms((self._num_samples, count), *self.key, *occasion)
            found = self._tables[occasion] = torch.from_numpy(drawn).to(self._device)
        return found


@dataclass(frozen=True)
class Draws:
    """What an augmentation may draw for one batch.

    Every draw is a function of the run's seed, the set of images, the augmentation's name, the occasion and the
    sample.

    Attributes:
        sample: N int64, the dataset's own indices of the batch's images.
        occasion: epoch, pass, view and so on.
    """

    tables: DrawTables
    sample: Tensor
    occasion: tuple[int, ...]

    def uniforms(self, count: int) -> Tensor:
        """N×count float32 in [0, 1), on the images' device. Asked again, they are the same."""
        return self.tables.uniforms(self.occasion, count).index_select(0, self.sample)

    def seeds(self) -> list[int]:
        """A seed of 64 bits for each image, for an augmentation that has generators of its own."""
        return [rng.key(*self.tables.key, *self.occasion, number) for number in self.sample.tolist()]
