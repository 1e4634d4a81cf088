"""Features of a frozen network: computed once for a dataset, kept in the cache, found there by every later run."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from noisybench.core.errors import UserError
from noisybench.core.files import canonical_json
from noisybench.data import Dataset, Images
from noisybench.data.augment import Augmenter, Normalizer
from noisybench.data.feature_cache import TYPES, FeatureFile
from noisybench.data.features import PLAIN, Features, Scaling, view_name
from noisybench.data.prefetch import feed
from noisybench.models import NetworkSpec, create_backbone, read_weights
from noisybench.spec import registry
from noisybench.spec.config import ResolvedConfig
from noisybench.train.prepare import RunData

BATCH = 256  # images that go through the network at a time; a divisor of feature_cache.CHUNK
DRAWN_WITH = 0  # the seed of cached augmented views: all runs share them


class Told(Protocol):
    """Who hears how a computation goes."""

    def say(self, line: str) -> None: ...

    def computing(self, what: str, done: int, total: int) -> None: ...


@dataclass(frozen=True)
class View:
    """One view of one part: what a file of features is of.

    Attributes:
        part: ``train``, ``test`` or ``clean``.
        strength: ``weak`` or ``strong``; None is the image as it is.
        number: of the view among those of its strength.
    """

    part: str
    strength: str | None = None
    number: int = 0

    @property
    def name(self) -> str:
        return PLAIN if self.strength is None else view_name(self.strength, self.number)


class Extraction:
    """The features of one dataset by one frozen network.

    Raises:
        UserError: the model is unknown, its weights cannot be had, or it cannot be frozen.
    """

    def __init__(self, config: ResolvedConfig, dataset: Dataset, device: torch.device):
        self._config, self._dataset, self._device = config, dataset, device
        self._settings = config.features
        preprocess, card = config.preprocess, dataset.card
        self._mean, self._std = preprocess.mean or card.mean, preprocess.std or card.std
        self._interpolation = preprocess.interpolation or "bilinear"
        self._side = config.features.input_size or dataset.train.pixels.shape[-1]
        spec = NetworkSpec(
            config.model,
            num_classes=0,
            channels=card.channels,
            image_size=self._side,
            pretrained=config.pretrained,
            weights=None if config.weights is None else read_weights(config.weights, config.weights_sha256),
        )
        self.backbone = create_backbone(spec, seed=DRAWN_WITH)
        self._network = self.backbone.module.to(device).to(memory_format=torch.channels_last)
        self._contents = {name: _content(dataset, name) for name in dataset.parts}

    def views(self) -> list[View]:
        """What a run needs: of each part the plain view, of those that a method trains on the augmented ones too."""
        views = [View(part) for part, images in self._dataset.parts.items() if len(images)]
        if self._settings.views:
            declared = registry.load_method(self._config.method).views
            strengths = {"weak"} if isinstance(declared, int) else set(declared)
            views += [
                View(part, strength, number)
                for part in self._dataset.parts
                if part != "test"
                for strength in sorted(strengths)
                for number in range(self._settings.views)
            ]
        return views

    def file(self, view: View) -> FeatureFile:
        """Where the features of a view are kept: named by everything that they depend on."""
        described = {
            "images": self._contents[view.part],
            "model": self._config.model,
            "weights": self.backbone.weights_sha256,
            "mean": self._mean,
            "std": self._std,
            "interpolation": self._interpolation,
            "side": self._side,
            "precision": self._settings.precision,
            "dtype": self._settings.dtype,
        }
        if view.strength is not None:
            described |= {"view": view.name, "augment": self._config.augment.model_dump(mode="json")}
        key = hashlib.sha256(canonical_json(described).encode()).hexdigest()[:20]
        name = re.sub(r"[^\w.-]+", "-", f"{self._dataset.card.base or self._dataset.card.name}-{self._config.model}")[
            -100:
        ]
        images = self._dataset.parts[view.part]
        return FeatureFile(
            f"{name}-{view.part}-{view.name}-{key}", len(images), self.backbone.num_features, self._settings.dtype
        )

    def compute(self, view: View, told: Told) -> FeatureFile:
        """Make sure that the features of a view are there.

        Raises:
            UserError: they cannot be written, or are no finite numbers.
        """
        file, images = self.file(view), self._dataset.parts[view.part]
        if file.is_there():
            return file
        what = f"features of {self._dataset.card.name}, {view.part}, {view.name}"

        def compute(first: int, end: int) -> Tensor:
            found = self._through_network(images, view, first, end)
            if not found.isfinite().all():
                raise UserError(
                    f"{what}: {self._config.model} gives numbers that {self._settings.dtype} cannot hold; "
                    f"--set features.dtype=float32"
                )
            told.computing(what, end, file.rows)
            return found

        file.make(compute, waiting=lambda: told.say(f"{what}: another process computes them; waiting for it"))
        return file

    @torch.no_grad()
    def _through_network(self, images: Images, view: View, first: int, end: int) -> Tensor:
        """Features of rows ``first`` to ``end``, on the CPU as they are kept."""
        network = self._network
        normalize = Normalizer(self._mean, self._std, self._device, torch.float32)
        augment = self._augmenter(view, len(images))
        rows = [torch.arange(start, min(start + BATCH, end)) for start in range(first, end, BATCH)]
        found = []
        requests = [(part.numpy(),) for part in rows]
        pixels = feed([images.pixels], requests, self._device, self._config.workers)
        for numbers, (batch,) in zip(rows, pixels, strict=True):
            if augment is not None:
                batch = augment(batch, numbers.to(self._device), (view.number,), view.strength or "weak")
            inputs = normalize(self._sized(batch)).contiguous(memory_format=torch.channels_last)
            mixed = self._settings.precision == "bf16"
            with torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=mixed):
                features = network(inputs)
            found.append(features.to(TYPES[self._settings.dtype][1]).cpu())
        return torch.cat(found)

    def _augmenter(self, view: View, count: int) -> Augmenter | None:
        if view.strength is None:
            return None
        return Augmenter(self._config.augment, count, DRAWN_WITH, f"features-{view.part}", self._device)

    def _sized(self, images: Tensor) -> Tensor:
        """Images of the side that the network sees."""
        if images.shape[-1] == self._side:
            return images
        way = InterpolationMode(self._interpolation)
        return transforms.resize(images, [self._side, self._side], interpolation=way, antialias=True)


def extract(config: ResolvedConfig, dataset: Dataset, device: torch.device, told: Told) -> list[FeatureFile]:
    """Make sure that all features that a frozen run needs are kept; where.

    Raises:
        UserError: see :class:`Extraction`.
    """
    extraction = Extraction(config, dataset, device)
    return [extraction.compute(view, told) for view in extraction.views()]


def with_features(config: ResolvedConfig, data: RunData, device: torch.device, told: Told) -> RunData:
    """The data of a frozen run with its features; of another run as it is.

    Raises:
        UserError: see :class:`Extraction`; or kept features are damaged.
    """
    if not config.frozen:
        return data
    extraction = Extraction(config, data.dataset, device)
    tables: dict[str, dict[str, Tensor]] = {}
    for view in extraction.views():
        tables.setdefault(view.part, {})[view.name] = extraction.compute(view, told).open()
    train = tables["train"][PLAIN]
    scaling = Scaling.of(train) if config.features.standardise else Scaling.none(train.shape[1])
    return replace(data, features=Features(tables, scaling, config.features.views))


def _content(dataset: Dataset, part: str) -> str:
    """sha256 of the images of a part, whatever their labels."""
    pixels = dataset.parts[part].pixels
    if dataset.source_hash is not None:
        return f"{part} of {dataset.source_hash}"
    digest = hashlib.sha256(str(tuple(pixels.shape)).encode())
    for chunk in pixels.chunks():
        digest.update(chunk.cpu().numpy().data)
    return digest.hexdigest()
