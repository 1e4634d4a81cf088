"""Sets of samples whose images a frozen network has turned into vectors already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisybench.data.augmentations.draws import DrawTables
from noisybench.data.loader import SWEEP, SWEEP_ROWS, SWEEP_ROWS_CPU, Stream
from noisybench.data.pixels import PixelSource

PLAIN = "plain"  # the view of images as they are; others are "weak-0", "strong-0" and so on


def view_name(strength: str, number: int) -> str:
    """The name of the ``number``-th cached view of a strength."""
    return f"{strength}-{number}"


@dataclass(frozen=True)
class Scaling:
    """Brings features to zero mean and unit deviation, by dimension: x·scale + shift.

    Attributes:
        scale, shift: D float64.
    """

    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, table: Tensor) -> Scaling:
        """The scaling of a train part's features (n×D)."""
        rows = 4096  # at a time; sums of more would lose digits
        mean = sum(part.float().sum(0).double() for part in table.split(rows)) / len(table)
        centred = (part.float() - mean.float() for part in table.split(rows))
        squares = sum(part.square_().sum(0).double() for part in centred)
        deviation = (squares / len(table)).sqrt()
        scale = torch.where(deviation > 1e-6, 1 / deviation.clamp_min(1e-6), torch.ones_like(deviation))
        return cls(scale, -mean * scale)

    @classmethod
    def none(cls, width: int) -> Scaling:
        """The one that changes nothing."""
        return cls(torch.ones(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64))


@dataclass(frozen=True)
class Features:
    """What a frozen network makes of a dataset's images.

    Attributes:
        parts: of each official part its tables n×D by view.
        scaling: how they are brought to one scale.
        views: K, cached augmented views of each strength; 0: every view is the image as it is.
    """

    parts: dict[str, dict[str, Tensor]]
    scaling: Scaling
    views: int

    @property
    def width(self) -> int:
        """D."""
        return len(self.scaling.scale)


class _RowNumbers(PixelSource):
    """In place of pixels: each row's own number, from which a :class:`FeatureStream` looks its features up."""

    resident = True

    def __init__(self, count: int):
        self.shape = (count, 1, 1, 1)

    def fetch(self, rows: np.ndarray | Tensor) -> Tensor:
        return torch.as_tensor(rows)

    def take(self, rows: np.ndarray) -> _RowNumbers:
        return _RowNumbers(len(rows))


class FeatureStream(Stream):
    """One set of samples as vectors. Where a :class:`~noisybench.data.loader.Stream` gives N×C×H×W, it gives N×D.

    Args:
        tables: the part's features (of all its images) by view.
        rows: int64, the images of the set within the part.
        labels: int64, one for each.
        scaling: applied to all.
        place: device and float type.
        pool: views to draw from by (strength, key); None gives the plain view always.
    """

    def __init__(
        self,
        tables: dict[str, Tensor],
        rows: np.ndarray,
        labels: np.ndarray,
        scaling: Scaling,
        place: tuple[torch.device, torch.dtype],
        pool: ViewPool | None = None,
    ):
        self.device, self._dtype = place
        self.pixels = _RowNumbers(len(rows))
        self.labels = torch.from_numpy(labels).to(self.device)
        self.sample = torch.from_numpy(rows).to(self.device)
        self.workers = 0
        self._tables, self._pool = tables, pool
        self._rows = torch.from_numpy(rows)
        self._scale = scaling.scale.to(self.device, self._dtype)
        self._shift = scaling.shift.to(self.device, self._dtype)

    def images(self, rows: Tensor | slice) -> Tensor:
        return self._looked_up(PLAIN, self.sample[rows])

    def dress(self, pixels: Tensor, rows: Tensor, occasion: tuple[int, ...], strength: str = "weak") -> Tensor:
        sample = self.sample[rows]
        if self._pool is None:
            return self._looked_up(PLAIN, sample)
        chosen = self._pool.choose(sample, occasion, strength)
        features = torch.empty(len(sample), len(self._scale), device=self.device, dtype=self._dtype)
        for number in range(self._pool.views):
            places = (chosen == number).nonzero().squeeze(1)
            features[places] = self._looked_up(view_name(strength, number), sample[places])
        return features

    def sweep(self, part: slice, occasion: tuple[int, ...] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        size = SWEEP_ROWS_CPU if self.device.type == "cpu" else SWEEP_ROWS
        for rows in torch.arange(*part.indices(len(self)), device=self.device).split(size):
            yield rows, self.images(rows) if occasion is None else self.dress(rows, rows, (*occasion, SWEEP))

    def _looked_up(self, view: str, sample: Tensor) -> Tensor:
        table = self._tables[view]
        found = table.index_select(0, sample.to(table.device)).to(self.device, self._dtype)
        return torch.addcmul(self._shift, found, self._scale)


class ViewPool:
    """Which of an image's cached views a step gets: a function of the run's seed, the set, the occasion, the sample.

    Args:
        views: K, how many there are of each strength.
        num_samples: of the part that samples are numbered in.
        key: the run's seed, and the purpose that names the set.
        device: where samples are.
    """

    def __init__(self, views: int, num_samples: int, key: tuple[int, str], device: torch.device):
        self.views = views
        self._draws = {
            strength: DrawTables(num_samples, (*key, f"{strength}-view"), device) for strength in ("weak", "strong")
        }

    def choose(self, sample: Tensor, occasion: tuple[int, ...], strength: str) -> Tensor:
        """N int64, the numbers of the views."""
        drawn = self._draws[strength].uniforms(occasion, 1).index_select(0, sample).squeeze(1)
        return (drawn * self.views).long().clamp_max(self.views - 1)
