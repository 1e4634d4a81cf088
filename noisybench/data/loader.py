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
class Batch:
    """One process's rows of one global batch.

    Attributes:
        index: N int64, rows in the noisy train set (the SampleStore's rows).
        images: N×C×H×W float, augmented and normalised.
        labels: N int64, given labels.
        epoch: counted from 0.
        step: counted from 0 over the whole run.
        global_size: rows of the whole batch, over all processes.
        meta_images: M×C×H×W clean images, for methods that declare ``meta_set``.
        meta_labels: M int64.
    """

    index: Tensor
    images: Tensor
    labels: Tensor
    epoch: int
    step: int
    global_size: int
    meta_images: Tensor | None = None
    meta_labels: Tensor | None = None


class Stream:
    """One set of samples on the device: uint8 pixels, labels, and the dataset's own indices."""

    def __init__(
        self, images: Images, labels: np.ndarray, sample: np.ndarray, augment: Augmenter | None, normalize: Normalizer
    ):
        device = normalize._scale.device
        self.pixels = images.pixels.to(device)
        self.labels = torch.from_numpy(labels).to(device)
        self.sample = torch.from_numpy(sample).to(device)
        self._augment = augment
        self._normalize = normalize

    def __len__(self) -> int:
        return len(self.labels)

    def images(self, rows: Tensor | slice, epoch: int = 0, view: int = 0) -> Tensor:
        """Normalised float images of these rows; augmented under this epoch's draws if the stream is."""
        images = self.pixels[rows]
        if self._augment is not None:
            images = self._augment(images, self.sample[rows], epoch, view)
        return self._normalize(images)


class TrainLoader:
    """Batches of the noisy train set, each with a batch of the meta set where the method wants one.

    Order is a function of (seed, epoch), the meta set's of (seed, pass): nothing is carried from step to step.
    """

    def __init__(
        self,
        train: Stream,
        meta: Stream | None,
        *,
        batch_size: int,
        seed: int,
        sequential: bool,
        world: World,
    ):
        self._train, self._meta = train, meta
        self._batch_size = batch_size
        self._seed = seed
        self._sequential = sequential
        self._world = world
        self._meta_orders: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        """Batches per epoch; the last one may be smaller."""
        return -(-len(self._train) // self._batch_size)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from number ``first`` on."""
        device = self._train.labels.device
        order = np.arange(len(self._train))
        if not self._sequential:
            order = rng.permutation(len(order), self._seed, "order", epoch)
        order = torch.from_numpy(order).to(device)
        for number in range(first, len(self)):
            whole = order[number * self._batch_size : (number + 1) * self._batch_size]
            index = whole[self._world.part(len(whole))]
            self._world.share = len(index) / len(whole)
            step = epoch * len(self) + number
            meta_images, meta_labels = self._meta_batch(step) if self._meta is not None else (None, None)
            yield Batch(
                index=index,
                images=self._train.images(index, epoch),
                labels=self._train.labels[index],
                epoch=epoch,
                step=step,
                global_size=len(whole),
                meta_images=meta_images,
                meta_labels=meta_labels,
            )

    def _meta_batch(self, step: int) -> tuple[Tensor, Tensor]:
        """This process's part of the meta batch of one step: the next rows of an endless run of reshuffled passes."""
        size = len(self._meta)
        positions = np.arange(step * self._batch_size, (step + 1) * self._batch_size)[
            self._world.part(self._batch_size)
        ]
        images, labels = [], []
        for number in np.unique(positions // size):
            rows = self._meta_order(int(number))[positions[positions // size == number] % size]
            rows = torch.from_numpy(rows).to(self._meta.labels.device)
            images.append(self._meta.images(rows, int(number)))
            labels.append(self._meta.labels[rows])
        return torch.cat(images), torch.cat(labels)

    def _meta_order(self, number: int) -> np.ndarray:
        if number not in self._meta_orders:
            self._meta_orders = {n: order for n, order in self._meta_orders.items() if n >= number - 1}
            order = np.arange(len(self._meta))
            if not self._sequential:
                order = rng.permutation(len(order), self._seed, "meta-order", number)
            self._meta_orders[number] = order
        return self._meta_orders[number]
