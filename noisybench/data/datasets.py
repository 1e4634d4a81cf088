"""A dataset's parts, and loading one by its card."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.core.shares import limited_rows, stratified_draw
from noisybench.data.cifar_archives import find_batches, read_batches
from noisybench.data.decode import Preprocess
from noisybench.data.hub import check_once, load_resident, open_hub
from noisybench.data.image_files import OpenListing, look_at_files, open_files
from noisybench.data.pixels import PixelSource, ResidentPixels, ResizedPixels, StreamedPixels, resized_source
from noisybench.data.promises import broken_promises
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

    def __post_init__(self) -> None:
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
        source_hash: names the content where that is not the hash of the pixels (see ``OpenListing.fingerprint``).
        notes: lines that a run should say: what the files were found to lack, and how many are left out.
    """

    card: DatasetCard
    train: Images
    test: Images
    clean: Images | None = None
    known: np.ndarray | None = None
    source_hash: str | None = None
    notes: tuple[str, ...] = ()

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
        limit_train: keep only so many training images, stratified by class; of checked images the same share. The draw
            has a fixed key: everybody who asks for n images gets the same ones.
        checked: a user's checked labels; they replace what the dataset itself knows of true labels.
        budget_mb: MiB of decoded pixels to keep in memory; larger sets are streamed.

    Raises:
        UserError: the data is missing, unreadable or not what the card says; every image has been decoded by then.
    """
    preprocess = Preprocess.of(card, image_size)
    opened = open_limited(
        card, data_path=data_path, preprocess=preprocess, limit_train=limit_train, checked=checked, fits=None
    )
    return loaded(opened, budget_mb)


def open_limited(
    card: DatasetCard,
    *,
    data_path: Path | None,
    preprocess: Preprocess | None = None,
    limit_train: int | None,
    checked: CheckedLabels | None,
    fits: Callable[[Dataset], object] | None,
) -> Dataset:
    """The same with images still encoded, where they come from files or tables.

    Args:
        preprocess: what is done to every image; the card's own if not given.
        fits: is given the dataset with its labels before any image is decoded; raises if it is too small for what is
            to be done with it.
    """

    def limited(dataset: Dataset) -> Dataset:
        return dataset if limit_train is None else _limited(dataset, limit_train, checked)

    def check(dataset: Dataset) -> None:
        part = limited(dataset)
        if fits is not None:
            _check_fit(fits, part, dataset, limit_train)

    return limited(open_dataset(card, data_path=data_path, preprocess=preprocess, checked=checked, fits=check))


def loaded(dataset: Dataset, budget_mb: int) -> Dataset:
    """Decode a dataset into memory where it fits the budget; else make sure that all of it decodes.

    Raises:
        UserError: some images cannot be decoded.
    """
    if dataset.resident:
        return dataset
    if dataset.decoded_bytes() <= budget_mb * 2**20:
        parts: dict[str, Any] = {
            name: Images(_resident(part.pixels), part.labels) for name, part in dataset.parts.items()
        }
        return replace(dataset, **parts)
    if dataset.source_hash is None:  # else its files have been looked at
        for name, part in dataset.parts.items():
            if isinstance(part.pixels, StreamedPixels):
                check_once(part.pixels, f"{part.pixels.cache_key}-{name}")
    return dataset


def open_dataset(
    card: DatasetCard,
    *,
    data_path: Path | None,
    preprocess: Preprocess | None = None,
    checked: CheckedLabels | None = None,
    fits: Callable[[Dataset], object] | None = None,
) -> Dataset:
    """The whole dataset, with images still encoded where they come from files or tables. See :func:`open_limited`."""
    if checked is not None and card.labels == "clean":
        raise UserError(f"--clean-labels {checked.file}: the labels of {card.name} are clean; leave it out")
    preprocess = preprocess or Preprocess.of(card)
    if card.source not in (*BUILT_IN, "hub"):
        return _of_files(card, data_path, checked, preprocess, fits)
    if card.source in BUILT_IN:
        if data_path is not None:
            raise UserError(f"--data-path {data_path}: dataset {card.name!r} is built in and reads no folder")
        dataset = _sized(card, _digits() if card.source == "digits" else synthetic_images(card), preprocess)
    elif (archive := find_batches(card, data_path) if data_path is not None else None) is not None:
        dataset = _sized(card, read_batches(*archive, card), preprocess)
    else:
        train, test = open_hub(card, data_path, preprocess)
        dataset = Dataset(card, Images(*train), Images(*test))
    if checked is not None:
        dataset = replace(dataset, known=checked.truth(len(dataset.train), None, None, card))
    broken = broken_promises(card, {name: len(part) for name, part in dataset.parts.items()})
    if broken:
        raise UserError(f"{f'--data-path {data_path}' if data_path else card.name}: {broken[0]}")
    if fits is not None:
        fits(dataset)
    return dataset


def _of_files(
    card: DatasetCard,
    data_path: Path | None,
    checked: CheckedLabels | None,
    preprocess: Preprocess,
    fits: Callable[[Dataset], object] | None,
) -> Dataset:
    listing, report = open_files(card, data_path, checked)

    def dataset(found: OpenListing, **known: Any) -> Dataset:
        parts: dict[str, Any] = {
            name: Images(found.pixels(name, preprocess), part.labels) for name, part in found.parts.items()
        }
        return Dataset(card, **parts, known=found.parts["train"].truth, **known)

    if fits is not None:
        fits(dataset(listing.with_test()))
    found = look_at_files(listing, card, preprocess, report)
    return dataset(found, source_hash=found.fingerprint(), notes=report.told(card.name))


def _sized(card: DatasetCard, parts, preprocess: Preprocess) -> Dataset:
    """A dataset of pixels in memory; where another size is asked for they are resized when it is loaded."""
    train, test = (Images(resized_source(pixels, preprocess), labels) for pixels, labels in parts)
    source_hash = None
    if preprocess != Preprocess.of(card, preprocess.side):  # large images of small ones take minutes to be hashed
        digest = hashlib.sha256(preprocess.key.encode())
        for pixels, _ in parts:
            digest.update(pixels.numpy().data)
        source_hash = digest.hexdigest()
    return Dataset(card, train, test, source_hash=source_hash)


def _resident(pixels: PixelSource) -> PixelSource:
    if isinstance(pixels, StreamedPixels):
        return load_resident(pixels)
    return pixels.load() if isinstance(pixels, ResizedPixels) else pixels


def _limited(dataset: Dataset, limit: int, checked: CheckedLabels | None) -> Dataset:
    train = dataset.train
    if limit > len(train):
        raise UserError(f"--limit-train {limit}: {dataset.card.name} has {len(train)} training images")
    if checked is None or dataset.known is None:
        rows = limited_rows(train.labels, limit)
    else:
        rows = _limited_checked(train.labels, dataset.known >= 0, limit)
    known = None if dataset.known is None else dataset.known[rows]
    return replace(dataset, train=train.take(rows), known=known)


def _limited_checked(labels: np.ndarray, checked: np.ndarray, limit: int) -> np.ndarray:
    """Rows (int64, sorted) of ``limit`` images, of which the same share is checked as of all."""
    rows = np.flatnonzero(checked), np.flatnonzero(~checked)
    kept = -(-len(rows[0]) * limit // len(labels))  # never less than the share that the held-out parts shrink by
    drawn = [
        part[stratified_draw(labels[part], size, rng.generator(0, "limit-train", name, limit))]
        for part, size, name in zip(rows, (kept, limit - kept), ("checked", "unchecked"), strict=True)
    ]
    return np.sort(np.concatenate(drawn))


def _check_fit(fits: Callable[[Dataset], object], part: Dataset, whole: Dataset, limit: int | None) -> None:
    """Ask ``fits`` of the dataset, and where only the limit is too small say that."""
    try:
        fits(part)
    except UserError as error:
        if limit is not None:
            try:
                fits(whole)
            except UserError:
                raise error from None
            raise UserError(f"--limit-train {limit} leaves too few images for the held-out parts: {error}") from error
        raise


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
