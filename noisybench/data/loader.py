"""The loader: batches of a known order, from pixels that are resident on the device or streamed from disk.

Both ways give the same batches: pixels are decoded by the same function, order and augmentation are looked up by keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from noisybench.core import rng
from noisybench.core.batches import num_batches, rows_of_batch, smallest_batch
from noisybench.data.augment import Augmenter, Normalizer
from noisybench.data.datasets import Images
from noisybench.data.pixels import PixelSource
from noisybench.data.prefetch import feed
from noisybench.parallel.world import World


@dataclass(frozen=True)
class Pass:
    """One pass over the noisy train set, or a part of it. An epoch is one or more passes.

    Attributes:
        rows: int64, rows of the noisy train set to visit once; None visits all.
        paired_rows: int64, rows that accompany them in endless reshuffled passes (``batch.paired``), batch for batch.
        tag: told to the method as ``batch.tag``, e.g. which network trains.
        batch_size: rows of its batches; the run's if not given.
        paired_size: rows of the accompanying batches; the run's batch size if not given.
    """

    rows: Tensor | None = None
    paired_rows: Tensor | None = None
    tag: int = 0
    batch_size: int | None = None
    paired_size: int | None = None


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

    @property
    def meta(self) -> tuple[Tensor, Tensor]:
        """The clean images (M×C×H×W) and their labels (M int64).

        Raises:
            ValueError: there are none.
        """
        if self.meta_images is None or self.meta_labels is None:
            raise ValueError("the batch has no clean images: add 'meta_set' to the method's needs")
        return self.meta_images, self.meta_labels


SWEEP_VALUES = 2**24  # pixel values of one batch of inference, on the device as floats
SWEEP_ROWS = 1024
SWEEP = -1  # in the key of a sweep's draws: a training batch's keys hold no negative number
SWEEP_ROWS_CPU = 256  # more are no faster there, and take memory


class Stream:
    """One set of samples: uint8 pixels, labels, and the dataset's own indices.

    Labels and indices are on the device; pixels too where they are resident, else they are decoded when asked for.
    """

    def __init__(
        self,
        images: Images,
        labels: np.ndarray,
        sample: np.ndarray,
        augment: Augmenter | None,
        normalize: Normalizer,
        workers: int = 0,
    ):
        self.device: torch.device = normalize.device
        self.pixels: PixelSource = images.pixels.to(self.device)
        self.labels: Tensor = torch.from_numpy(labels).to(self.device)
        self.sample: Tensor = torch.from_numpy(sample).to(self.device)
        self.workers = workers
        self._augment = augment
        self._normalize = normalize

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, rows: Tensor | slice) -> Tensor:
        """Normalised float images of these rows, not augmented. For many rows in order, :meth:`sweep` is faster."""
        return self._normalize(self.pixels[rows].to(self.device))

    def view(self, rows: Tensor, occasion: tuple[int, ...], strength: str = "weak") -> Tensor:
        """The same under this occasion's augmentation, where the stream has one."""
        return self.dress(self.pixels[rows].to(self.device), rows, occasion, strength)

    def dress(self, pixels: Tensor, rows: Tensor, occasion: tuple[int, ...], strength: str = "weak") -> Tensor:
        """Augment and normalise the uint8 pixels of these rows."""
        if self._augment is not None:
            pixels = self._augment(pixels, self.sample[rows], occasion, strength)
        return self._normalize(pixels)

    def sweep(self, part: slice, occasion: tuple[int, ...] | None = None) -> Iterator[tuple[Tensor, Tensor]]:
        """The images of a part in order: pairs (rows int64, normalised images).

        Args:
            occasion: augment them weakly under draws of this key, which no training batch has; not if not given.
        """
        most = SWEEP_ROWS_CPU if self.device.type == "cpu" else SWEEP_ROWS
        size = max(1, min(most, SWEEP_VALUES // int(np.prod(self.pixels.shape[1:]))))
        first, last, _ = part.indices(len(self))
        pieces = [np.arange(start, min(start + size, last)) for start in range(first, last, size)]
        pixels = feed([self.pixels], [(rows,) for rows in pieces], self.device, self.workers)
        for rows, (found,) in zip(pieces, pixels, strict=True):
            index = torch.from_numpy(rows).to(self.device)
            if occasion is None:
                yield index, self._normalize(found)
            else:
                yield index, self.dress(found, index, (*occasion, SWEEP))


@dataclass(frozen=True)
class BatchOrder:
    """In which order samples come, and how many at a time.

    Attributes:
        batch_size: rows of a global batch.
        seed: of the run.
        shuffled: anew in each pass; else every pass is in the set's own order.
        smallest: a last batch of fewer rows joins the one before it.
    """

    batch_size: int
    seed: int
    shuffled: bool
    smallest: int = smallest_batch()

    def of(self, size: int, purpose: str, *parts: str | int) -> np.ndarray:
        """The order (int64) of one pass over ``size`` rows: a function of the seed and the key."""
        return rng.permutation(size, self.seed, purpose, *parts) if self.shuffled else np.arange(size)


class Endless:
    """Rows in an endless run of reshuffled passes: position k is a function of the key and k alone."""

    def __init__(self, rows: np.ndarray, order: BatchOrder, key: tuple[str, *tuple[str | int, ...]]):
        self._rows, self._order_of, self._key = rows, order, key
        self._orders: dict[int, np.ndarray] = {}

    def at(self, positions: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """The rows at consecutive positions, as pairs (number of the pass, rows)."""
        numbers, offsets = np.divmod(positions, len(self._rows))
        return [(int(n), self._rows[self._order(int(n))[offsets[numbers == n]]]) for n in np.unique(numbers)]

    def _order(self, number: int) -> np.ndarray:
        if number not in self._orders:
            self._orders = {n: order for n, order in self._orders.items() if n == number - 1}
            self._orders[number] = self._order_of.of(len(self._rows), *self._key, number)
        return self._orders[number]


@dataclass(frozen=True)
class _Plan:
    """Which rows one process's part of one batch needs.

    Attributes:
        step: of the run.
        global_size: rows of the whole batch, over all processes.
        rows: int64, this process's rows of the noisy train set.
        paired, meta: pairs (number of the pass, rows) of the accompanying and of the meta batch.
        paired_size: rows of the whole accompanying batch.
    """

    step: int
    global_size: int
    rows: np.ndarray
    paired: list[tuple[int, np.ndarray]]
    meta: list[tuple[int, np.ndarray]]
    paired_size: int = 0

    def request(self, sources: int) -> tuple[np.ndarray, ...]:
        """Rows of the train set, and of the meta set where there are two sources."""
        of_train = np.concatenate([self.rows, *(rows for _, rows in self.paired)])
        return (of_train,) if sources == 1 else (of_train, np.concatenate([rows for _, rows in self.meta]))


@dataclass(frozen=True)
class _Cut:
    """One pass's rows of the noisy train set in order, and how they are cut into batches.

    Attributes:
        rows: int64.
        size: of a global batch.
        paired: the rows that accompany them.
        paired_size: of a global accompanying batch.
    """

    rows: np.ndarray
    size: int
    paired: Endless | None
    paired_size: int


class TrainLoader:
    """Batches of the noisy train set, each with a batch of the meta set where the method wants one.

    Order is a function of (seed, epoch, pass), the meta set's of (seed, step): nothing is carried from step to step.
    """

    def __init__(
        self,
        train: Stream,
        meta: Stream | None,
        order: BatchOrder,
        *,
        views: int | Sequence[str],
        world: World,
    ):
        self.train, self._meta = train, meta
        self._views = ("weak",) * views if isinstance(views, int) else tuple(views)
        self._order, self._batch_size = order, order.batch_size
        self._world = world
        if meta is not None:
            self._meta_rows = Endless(np.arange(len(meta)), order, key=("meta-order",))

    def num_batches(self, part: Pass) -> int:
        """Batches of a pass (:mod:`noisybench.core.batches`)."""
        size = len(self.train) if part.rows is None else len(part.rows)
        return num_batches(size, part.batch_size or self._batch_size, self._order.smallest)

    def batches(self, part: Pass, *, epoch: int, number: int, first_step: int, skip: int = 0) -> Iterator[Batch]:
        """The batches of one pass.

        Args:
            part: the pass.
            epoch: counted from 0.
            number: of the pass within the epoch.
            first_step: the run's step count before the pass.
            skip: leave out so many batches, done before.
        """
        rows = np.arange(len(self.train)) if part.rows is None else part.rows.cpu().numpy()
        rows = rows[self._order.of(len(rows), "order", epoch, number)]
        paired = None
        if part.paired_rows is not None:
            paired_rows = part.paired_rows.cpu().numpy()
            paired = Endless(paired_rows, self._order, key=("paired-order", epoch, number))
        cut = _Cut(rows, part.batch_size or self._batch_size, paired, part.paired_size or self._batch_size)
        plans = [self._plan(cut, position, first_step + position) for position in range(skip, self.num_batches(part))]
        sources = [self.train.pixels] if self._meta is None else [self.train.pixels, self._meta.pixels]
        requests = [plan.request(len(sources)) for plan in plans]
        for plan, pixels in zip(plans, feed(sources, requests, self.train.device, self.train.workers), strict=True):
            yield self._batch(plan, pixels, (epoch, number), part.tag)

    def _plan(self, cut: _Cut, position: int, step: int) -> _Plan:
        whole = cut.rows[rows_of_batch(position, len(cut.rows), cut.size, self._order.smallest)]
        mine = self._world.part_of_batch(len(whole), len(whole))
        paired = meta = []
        if cut.paired is not None:
            paired = cut.paired.at(self._positions(position, cut.paired_size, len(whole)))
        if self._meta is not None:
            meta = self._meta_rows.at(self._positions(step, self._batch_size, len(whole)))
        return _Plan(
            step=step, global_size=len(whole), rows=whole[mine], paired=paired, meta=meta, paired_size=cut.paired_size
        )

    def _batch(self, plan: _Plan, pixels: tuple[Tensor, ...], occasion: tuple[int, int], tag: int) -> Batch:
        sizes = [len(plan.rows), *(len(rows) for _, rows in plan.paired)]
        own, *of_paired = pixels[0].split(sizes)
        index = self._on_device(plan.rows)
        meta_images = meta_labels = None
        if plan.meta:
            meta_images, meta_labels = self._meta_batch(plan, pixels[1])
        return Batch(
            index=index,
            views=self._dressed(own, index, occasion),
            labels=self.train.labels[index],
            epoch=occasion[0],
            step=plan.step,
            global_size=plan.global_size,
            meta_images=meta_images,
            meta_labels=meta_labels,
            paired=self._paired_batch(plan, of_paired, occasion) if plan.paired else None,
            tag=tag,
        )

    def _on_device(self, rows: np.ndarray) -> Tensor:
        return torch.from_numpy(rows).to(self.train.device)

    def _dressed(self, pixels: Tensor, index: Tensor, occasion: tuple[int, ...]) -> list[Tensor]:
        return [
            self.train.dress(pixels, index, (*occasion, view), strength) for view, strength in enumerate(self._views)
        ]

    def _positions(self, number: int, size: int, beside: int) -> np.ndarray:
        """This process's part of the positions of the ``number``-th batch of an endless stream.

        Args:
            size: rows of the whole batch.
            beside: rows of the whole batch that it goes with.
        """
        return np.arange(number * size, (number + 1) * size)[self._world.part_of_batch(size, beside)]

    def _meta_batch(self, plan: _Plan, pixels: Tensor) -> tuple[Tensor, Tensor]:
        meta, images, labels = self._meta, [], []
        assert meta is not None  # else no plan has a part of it
        for (number, part), found in zip(plan.meta, pixels.split([len(r) for _, r in plan.meta]), strict=True):
            rows = self._on_device(part)
            images.append(meta.dress(found, rows, (number,)))
            labels.append(meta.labels[rows])
        return torch.cat(images), torch.cat(labels)

    def _paired_batch(self, plan: _Plan, pixels: list[Tensor], occasion: tuple[int, int]) -> Batch:
        parts = []
        for (number, rows), found in zip(plan.paired, pixels, strict=True):
            index = self._on_device(rows)
            parts.append((index, self._dressed(found, index, (*occasion, number))))
        index = torch.cat([index for index, _ in parts])
        views = [torch.cat(part) for part in zip(*(views for _, views in parts), strict=True)]
        return Batch(index, views, self.train.labels[index], occasion[0], plan.step, plan.paired_size)
