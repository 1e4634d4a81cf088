"""A dataset's parts, and loading one by its card."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.core.shares import limited_rows, stratified_draw
from noisybench.data.cifar_archives import find_batches, read_batches
from noisybench.data.decode import Preprocess, resized
from noisybench.data.hub import check_once, load_resident, open_hub
from noisybench.data.image_files import open_files
from noisybench.data.pixels import PixelSource, ResidentPixels, StreamedPixels
from noisybench.data.synthetic import synthetic_images
from noisybench.spec.cards import DatasetCard
from noisybench.spec.checked_labels import CheckedLabels
from noisybench.spec.extension_kinds import BUILT_IN

DEFAULT_BUDGET_MB = 4096


@dataclass(frozen=True)
class Images:
    """Images and the labels the dataset ships.

    Attributes:
        pixels: N images as uint8; a tensor N×C×H×W is made a source.
        labels: N int64, class ids.
    """

    pixels: PixelSource
    labels: np.ndarray

    def __post_init__(self):
        if isinstance(self.pixels, torch.Tensor):
            object.__setattr__(self, "pixels", ResidentPixels(self.pixels))

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Images:
        """The images at these rows, in this order."""
        return Images(self.pixels.take(rows), self.labels[rows])


@dataclass(frozen=True)
class Dataset:
    """The official parts of one dataset.

    Attributes:
        train, test: with the labels the dataset ships.
        clean: images of its own clean part, where it has one.
        known: N int64, true labels of the train part, −1 where nobody knows; None if the shipped labels are right.
        source_hash: names the content where that is not the hash of the pixels (see ``Listing.fingerprint``).
    """

    card: DatasetCard
    train: Images
    test: Images
    clean: Images | None = None
    known: np.ndarray | None = None
    source_hash: str | None = None

    @property
    def num_classes(self) -> int:
        return len(self.card.classes)

    @property
    def truth(self) -> np.ndarray:
        """N int64, true labels of the train part, −1 where nobody knows."""
        return self.train.labels if self.known is None else self.known

    @property
    def parts(self) -> dict[str, Images]:
        """The parts there are, by name."""
        parts = {"train": self.train, "test": self.test, "clean": self.clean}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def resident(self) -> bool:
        """Whether all pixels are in memory."""
        return all(part.pixels.resident for part in self.parts.values())

    def decoded_bytes(self) -> int:
        """Size of all pixels, decoded."""
        return sum(int(np.prod(part.pixels.shape)) for part in self.parts.values())

    def fingerprint(self) -> str:
        """sha256 of the content: over shapes, pixels and labels of the parts, or over ``source_hash`` and labels."""
        digest = hashlib.sha256()
        if self.source_hash is not None:
            digest.update(self.source_hash.encode())
        for part in self.parts.values():
            digest.update(str(tuple(part.pixels.shape)).encode())
            if self.source_hash is None:
                for pixels in part.pixels.chunks():
                    digest.update(pixels.numpy().data)
            digest.update(part.labels.astype("<i8").data)
        return digest.hexdigest()


def order_fingerprint(labels: np.ndarray) -> str:
    """sha256 of labels in their order (little-endian int64). Equal labels in another order have another one."""
    return hashlib.sha256(labels.astype("<i8").data).hexdigest()


def load_dataset(
    card: DatasetCard,
    *,
    data_path: Path | None,
    image_size: int | None,
    limit_train: int | None,
    checked: CheckedLabels | None = None,
    budget_mb: int = DEFAULT_BUDGET_MB,
) -> Dataset:
    """Load a dataset: into memory where its decoded pixels fit the budget, else ready to be streamed.

    Args:
        card: which dataset.
        data_path: a local folder to read instead of the Hub; refused by datasets that need none.
        image_size: side of the images in pixels; None keeps the dataset's own size.
        limit_train: keep only so many training images, stratified by class. The draw has a fixed key: everybody
            who asks for n images gets the same ones.
        checked: a user's checked labels; they replace what the dataset itself knows of true labels.
        budget_mb: MiB of decoded pixels to keep in memory; larger sets are streamed.

    Raises:
        UserError: the data is missing, unreadable or not what the card says; every image has been decoded by then.
    """
    dataset = open_dataset(card, data_path=data_path, image_size=image_size, checked=checked)
    if limit_train is not None:
        dataset = _limited(dataset, limit_train)
    if dataset.resident:
        return dataset
    if dataset.decoded_bytes() <= budget_mb * 2**20:
        parts = {name: Images(_resident(part.pixels), part.labels) for name, part in dataset.parts.items()}
        return replace(dataset, **parts)
    for name, part in dataset.parts.items():
        check_once(part.pixels, f"{dataset.source_hash or part.pixels.cache_key}-{name}")
    return dataset


def open_dataset(
    card: DatasetCard, *, data_path: Path | None, image_size: int | None, checked: CheckedLabels | None = None
) -> Dataset:
    """The same with images still encoded, where they come from files or tables."""
    if checked is not None and card.labels == "clean":
        raise UserError(f"--clean-labels {checked.file}: the labels of {card.name} are clean; leave it out")
    preprocess = Preprocess.of(card, image_size)
    if card.source in BUILT_IN:
        if data_path is not None:
            raise UserError(f"--data-path {data_path}: dataset {card.name!r} is built in and reads no folder")
        return _sized(card, _digits() if card.source == "digits" else synthetic_images(card), preprocess.side)
    if card.source != "hub":
        listing = open_files(card, data_path, checked)
        parts = {name: Images(listing.pixels(name, preprocess), part.labels) for name, part in listing.parts.items()}
        known = listing.parts["train"].truth
        if checked is not None:
            names = listing.parts["train"].names
            known = checked.truth(len(names), names, listing.root, card.classes)
            parts.pop("clean", None)
        return Dataset(card, **parts, known=known, source_hash=listing.fingerprint())
    archive = find_batches(card, data_path) if data_path is not None else None
    if archive is not None:
        return _sized(card, read_batches(*archive, card), preprocess.side)
    train, test = open_hub(card, data_path, preprocess)
    return Dataset(card, Images(*train), Images(*test))


def _sized(card: DatasetCard, parts, side: int) -> Dataset:
    """A dataset of pixels in memory, resized where another side is asked for."""
    train, test = (
        Images(pixels if pixels.shape[-1] == side else resized(pixels, side), labels) for pixels, labels in parts
    )
    return Dataset(card, train, test)


def _resident(pixels: PixelSource) -> PixelSource:
    return load_resident(pixels) if isinstance(pixels, StreamedPixels) else pixels


def _limited(dataset: Dataset, limit: int) -> Dataset:
    train = dataset.train
    if limit > len(train):
        raise UserError(f"--limit-train {limit}: {dataset.card.name} has {len(train)} training images")
    rows = limited_rows(train.labels, limit)
    known = None if dataset.known is None else dataset.known[rows]
    return replace(dataset, train=train.take(rows), known=known)


def _digits():
    """scikit-learn's 1,797 handwritten digits (8×8, 16 grey levels). It has no official split: a stratified fifth,
    drawn with a fixed key, is the test set."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8))[:, None]
    labels = bunch.target.astype(np.int64)
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[stratified_draw(labels, 360, rng.generator(0, "digits-test"))] = True
    return tuple((pixels[torch.from_numpy(part)], labels[part]) for part in (~is_test, is_test))
