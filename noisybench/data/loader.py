"""The resident loader: all images on the device as uint8, batches as tensor operations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisybench import rng
from noisybench.data.augment import Augmenter, Normalizer
from noisybench.data.datasets import Images
from noisybench.distributed import World


@dataclass(frozen=True)
class Pass:
    """One pass over the noisy train set, or a part of it. An epoch is one or more passes.

    Attributes:
        rows: int64, rows of the noisy train set to visit once; None visits all.
        paired_rows: int64, rows that accompany them in endless reshuffled passes (``batch.paired``), batch for batch.
        tag: told to the method as ``batch.tag``, e.g. which network trains.
    """

    rows: Tensor | None = None
    paired_rows: Tensor | None = None
    tag: int = 0


@dataclass(frozen=True)
class Batch:
    """One process's rows of one global batch.

    Attributes:
        index: N int64, rows in the noisy train set (the SampleStore's rows).
        views: one N×C×H×W float tensor for each view the method declares, augmented and normalised.
        labels: N int64, given labels.
        epoch: counted from 0.
        step: counted from 0 over the whole run.
        global_size: rows of the whole batch, over all processes.
        meta_images: M×C×H×W clean images, for methods that declare ``meta_set``.
        meta_labels: M int64.
        paired: the accompanying batch, where the pass has paired rows.
        tag: the pass's tag.
    """

    index: Tensor
    views: list[Tensor]
    labels: Tensor
    epoch: int
    step: int
    global_size: int
    meta_images: Tensor | None = None
    meta_labels: Tensor | None = None
    paired: Batch | None = None
    tag: int = 0

    @property
    def images(self) -> Tensor:
        """The first view."""
        return self.views[0]


class Stream:
    """One set of samples on the device: uint8 pixels, labels, and the dataset's own indices."""

    def __init__(
        self,
        images: Images,
        labels: np.ndarray,
        sample: np.ndarray,
        augment: Augmenter | None,
        normalize: Normalizer,
    ):
        self.device = normalize.device
        self.pixels = images.pixels.to(self.device)
        self.labels = torch.from_numpy(labels).to(self.device)
        self.sample = torch.from_numpy(sample).to(self.device)
        self._augment = augment
        self._normalize = normalize

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, rows: Tensor | slice) -> Tensor:
        """Normalised float images of these rows, not augmented."""
        return self._normalize(self.pixels[rows])

    def view(self, rows: Tensor, occasion: tuple[int, ...]) -> Tensor:
        """The same under this occasion's augmentation, where the stream has one."""
        if self._augment is None:
            return self.images(rows)
        return self._normalize(self._augment(self.pixels[rows], self.sample[rows], occasion))


class Endless:
    """Rows in an endless run of reshuffled passes: position k is a function of the key and k alone."""

    def __init__(self, rows: np.ndarray, *, shuffled: bool, seed: int, key: tuple[str | int, ...]):
        self._rows, self._shuffled, self._seed, self._key = rows, shuffled, seed, key
        self._orders: dict[int, np.ndarray] = {}

    def at(self, positions: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """The rows at consecutive positions, as pairs (number of the pass, rows)."""
        numbers, offsets = np.divmod(positions, len(self._rows))
        return [(int(n), self._rows[self._order(int(n))[offsets[numbers == n]]]) for n in np.unique(numbers)]

    def _order(self, number: int) -> np.ndarray:
        if number not in self._orders:
            self._orders = {n: order for n, order in self._orders.items() if n == number - 1}
            order = np.arange(len(self._rows))
            if self._shuffled:
                order = rng.permutation(len(order), self._seed, *self._key, number)
            self._orders[number] = order
        return self._orders[number]


class TrainLoader:
    """Batches of the noisy train set, each with a batch of the meta set where the method wants one.

    Order is a function of (seed, epoch, pass), the meta set's of (seed, step): nothing is carried from step to step.
    """

    def __init__(
        self,
        train: Stream,
        meta: Stream | None,
        *,
        num_views: int,
        batch_size: int,
        seed: int,
        shuffled: bool,
        world: World,
    ):
        self.train, self._meta = train, meta
        self._num_views = num_views
        self._batch_size = batch_size
        self._seed = seed
        self._shuffled = shuffled
        self._world = world
        if meta is not None:
            self._meta_rows = Endless(np.arange(len(meta)), shuffled=shuffled, seed=seed, key=("meta-order",))

    def num_batches(self, part: Pass) -> int:
        """Batches of a pass; the last one may be smaller."""
        size = len(self.train) if part.rows is None else len(part.rows)
        return -(-size // self._batch_size)

    def batches(self, part: Pass, *, epoch: int, number: int, first_step: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one pass.

        Args:
            part: the pass.
            epoch: counted from 0.
            number: of the pass within the epoch.
            first_step: the run's step count before the pass.
            skip: leave out so many batches, done before.
        """
        device = self.train.device
        order = np.arange(len(self.train) if part.rows is None else len(part.rows))
        if self._shuffled:
            order = rng.permutation(len(order), self._seed, "order", epoch, number)
        order = torch.from_numpy(order).to(device)
        rows = order if part.rows is None else part.rows[order]
        paired = None
        if part.paired_rows is not None:
            paired_rows = part.paired_rows.cpu().numpy()
            paired = Endless(paired_rows, shuffled=self._shuffled, seed=self._seed, key=("paired-order", epoch, number))
        for position in range(skip, self.num_batches(part)):
            whole = rows[position * self._batch_size : (position + 1) * self._batch_size]
            mine = self._world.part(len(whole))
            self._world.begin_batch(mine, len(whole), self._batch_size)
            index = whole[mine]
            step = first_step + position
            meta_images, meta_labels = self._meta_batch(step) if self._meta is not None else (None, None)
            yield Batch(
                index=index,
                views=self._views(index, (epoch, number)),
                labels=self.train.labels[index],
                epoch=epoch,
                step=step,
                global_size=len(whole),
                meta_images=meta_images,
                meta_labels=meta_labels,
                paired=self._paired_batch(paired, position, (epoch, number), step) if paired is not None else None,
                tag=part.tag,
            )

    def _views(self, index: Tensor, occasion: tuple[int, ...]) -> list[Tensor]:
        return [self.train.view(index, (*occasion, view)) for view in range(self._num_views)]

    def _positions(self, number: int) -> np.ndarray:
        """This process's part of the positions of the ``number``-th full batch of an endless stream."""
        start = number * self._batch_size
        return np.arange(start, start + self._batch_size)[self._world.part(self._batch_size)]

    def _meta_batch(self, step: int) -> tuple[Tensor, Tensor]:
        images, labels = [], []
        for number, rows in self._meta_rows.at(self._positions(step)):
            rows = torch.from_numpy(rows).to(self._meta.device)
            images.append(self._meta.view(rows, (number,)))
            labels.append(self._meta.labels[rows])
        return torch.cat(images), torch.cat(labels)

    def _paired_batch(self, paired: Endless, position: int, occasion: tuple[int, int], step: int) -> Batch:
        parts = []
        for number, rows in paired.at(self._positions(position)):
            index = torch.from_numpy(rows).to(self.train.device)
            parts.append((index, self._views(index, (*occasion, number))))
        index = torch.cat([index for index, _ in parts])
        views = [torch.cat(part) for part in zip(*(views for _, views in parts), strict=True)]
        return Batch(index, views, self.train.labels[index], occasion[0], step, self._batch_size)
