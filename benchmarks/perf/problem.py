"""A training problem of any size, made up: what a run would build, without its data.

Methods, loaders and batches are built by the functions that a run uses.
"""

from __future__ import annotations

import types
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.core.nested import merge
from noisybench.data import Dataset, Images
from noisybench.data.loader import Batch
from noisybench.data.pixels import PixelSource
from noisybench.parallel.world import World
from noisybench.spec import registry
from noisybench.spec.cards import DatasetCard
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.layers import resolve_dict
from noisybench.train.build import Place
from noisybench.train.prepare import RunData, prepare_dataset
from noisybench.train.session import Session

SINGLE_PROCESS = types.SimpleNamespace(process_index=0, num_processes=1, is_main_process=True)
EPOCHS = 3  # the recipes for ``synthetic`` reach their last phase by then
KEPT_IMAGES = 512  # distinct ones: a million rows share them
BATCHES_HELD = 6  # of the noisy train set: enough for methods that train on a part of it


class SharedPixels(PixelSource):
    """Rows that share a few images in memory.

    Args:
        tensor: K×C×H×W uint8, on the device.
        image: N int64, which of them each row shows.
    """

    resident = True

    def __init__(self, tensor: Tensor, image: np.ndarray):
        self._tensor, self._image = tensor, image
        self._on_device = torch.from_numpy(image).to(tensor.device)
        self.shape = (len(image), *tensor.shape[1:])

    def fetch(self, rows: np.ndarray | Tensor) -> Tensor:
        return self._tensor[self._on_device[torch.as_tensor(rows).to(self._tensor.device)]]

    def take(self, rows: np.ndarray) -> SharedPixels:
        return SharedPixels(self._tensor, self._image[rows])

    def to(self, device: torch.device) -> SharedPixels:
        return SharedPixels(self._tensor.to(device), self._image)


@dataclass(frozen=True)
class Size:
    """How large a problem is.

    Attributes:
        model: any timm name.
        batch_size: images of a step.
        classes: C.
        side: of the images, in pixels.
        rows: of the noisy train set.
        test_rows: of the test set; one of each class if not given.
    """

    model: str
    batch_size: int
    classes: int
    side: int
    rows: int
    test_rows: int | None = None


def image_side(model: str) -> int:
    """The images a network is meant for: 32×32 for noisybench's own, else timm's."""
    if model.startswith("noisybench_"):
        return 32
    configuration = timm.get_pretrained_cfg(model, allow_unregistered=True)
    return configuration.input_size[-1] if configuration else 224


def dataset_card(classes: int, side: int, train_size: int) -> DatasetCard:
    """The card of the made-up dataset."""
    card = registry.dataset_card("synthetic")
    names = [str(number) for number in range(classes)]
    return card.model_copy(
        update={"classes": names, "image_size": side, "train_size": train_size, "asymmetric": {}},
    )


def made_up_dataset(classes: int, side: int, train_size: int, test_size: int, device: torch.device) -> Dataset:
    """Random RGB pixels, balanced labels."""
    card = dataset_card(classes, side, train_size)
    shape = (min(train_size, KEPT_IMAGES), card.channels, side, side)
    drawn = rng.generator(0, "perf-pixels", *shape).integers(0, 256, shape, dtype=np.uint8)
    kept = torch.from_numpy(drawn).to(device)

    def images(size: int) -> Images:
        rows = np.arange(size, dtype=np.int64)
        return Images(SharedPixels(kept, rows % len(kept)), rows % classes)

    return Dataset(card, images(train_size), images(test_size))


class Problem:
    """One method on a made-up problem, as a run builds it.

    Args:
        method: its name.
        settings: its own, above its recipe for ``synthetic``.
        size: of the problem.
        device: where it trains.
        changes: further configuration of the run that it is part of.
        accelerator: of the run. A configuration with ``mixed_precision`` needs Accelerate's own.

    Raises:
        UserError: a name is unknown, or a setting or size is wrong.
    """

    def __init__(
        self,
        method: str,
        settings: dict[str, Any],
        size: Size,
        device: torch.device,
        *,
        changes: dict[str, Any] | None = None,
        accelerator: Any = SINGLE_PROCESS,
    ):
        self.device = device
        given = {
            "method": method,
            "dataset": "synthetic",
            "model": size.model,
            "batch_size": size.batch_size,
            "image_size": size.side,
            "meta_size": size.batch_size,
            "noisy_val_size": 0,
            "clean_val_size": 0,
            "epochs": EPOCHS,
            "settings": settings,
        }
        self.config: ResolvedConfig = resolve_dict(merge(given, changes or {}))
        train_rows = size.rows + size.batch_size
        dataset = made_up_dataset(size.classes, size.side, train_rows, size.test_rows or size.classes, device)
        self.data: RunData = prepare_dataset(self.config, dataset)
        self.session = Session(self.config, self.data, Place(World(accelerator), device, torch.float32))
        self.world, self.streams = self.session.world, self.session.streams
        self.method, self.loader = self.session.method, self.session.loader

    def last_phase(self, wanted: int) -> list[Batch]:
        """Take the method to its last phase and make batches of it, ahead of any measurement.

        Every epoch is begun, without its training: what a method does there it does to the network as it is.

        Args:
            wanted: at most so many batches.

        Raises:
            UserError: no pass of the last epoch holds a full batch.
        """
        for epoch in range(self.config.epochs):
            passes = self.session.begin_epoch(epoch)
        batches = []
        for number, part in enumerate(passes):
            for batch in self.loader.batches(part, epoch=epoch, number=number, first_step=len(batches)):
                if len(batch.index) == (part.batch_size or self.config.batch_size) and len(batches) < wanted:
                    batches.append(batch)
                else:
                    break
        if not batches:
            raise UserError(
                f"method {self.config.method!r} picks less than a batch of the {len(self.streams.train)} images: give "
                f"a smaller --batch-size"
            )
        return batches


def laid_out(batch: Batch, layout: torch.memory_format) -> Batch:
    """The same batch with all its images in one layout."""

    def turned(images: Tensor | None) -> Tensor | None:
        return None if images is None else images.contiguous(memory_format=layout)

    return replace(
        batch,
        views=[turned(view) for view in batch.views],
        meta_images=turned(batch.meta_images),
        paired=None if batch.paired is None else laid_out(batch.paired, layout),
    )


def batch_tensors(batch: Batch) -> list[Tensor]:
    """Every tensor of a batch."""
    own = [batch.index, *batch.views, batch.labels, batch.meta_images, batch.meta_labels]
    paired = [] if batch.paired is None else batch_tensors(batch.paired)
    return [tensor for tensor in own if tensor is not None] + paired
