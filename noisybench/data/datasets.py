"""A dataset in memory, and loading one by the name of its card."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from noisybench import rng
from noisybench.cards import DatasetCard
from noisybench.data.hub import load_hub
from noisybench.data.synthetic import synthetic_images
from noisybench.errors import UserError
from noisybench.stratify import limited_rows, stratified_draw


@dataclass(frozen=True)
class Images:
    """Decoded images and the labels the dataset ships.

    Attributes:
        pixels: N×C×H×W uint8.
        labels: N int64, class ids.
    """

    pixels: torch.Tensor
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> Images:
        """The images at these rows, in this order."""
        return Images(self.pixels[torch.from_numpy(rows)], self.labels[rows])


@dataclass(frozen=True)
class Dataset:
    """The official train and test parts of one dataset."""

    card: DatasetCard
    train: Images
    test: Images

    @property
    def num_classes(self) -> int:
        return len(self.card.classes)

    def fingerprint(self) -> str:
        """sha256 over shapes, pixels and labels of both parts."""
        digest = hashlib.sha256()
        for part in (self.train, self.test):
            digest.update(str(tuple(part.pixels.shape)).encode())
            digest.update(part.pixels.numpy().data)
            digest.update(part.labels.astype("<i8").data)
        return digest.hexdigest()


def load_dataset(
    card: DatasetCard, *, data_path: Path | None, image_size: int | None, limit_train: int | None
) -> Dataset:
    """Load a dataset.

    Args:
        card: which dataset.
        data_path: a local folder to read instead of the Hub; refused by datasets that need none.
        image_size: resize to this side in pixels; None keeps the dataset's own size.
        limit_train: keep only so many training images, stratified by class. The draw has a fixed key: everybody
            who asks for n images gets the same ones.

    Raises:
        UserError: the data is missing, unreadable or not what the card says.
    """
    if card.source != "hub" and data_path is not None:
        raise UserError(f"--data-path {data_path}: dataset {card.name!r} is built in and reads no folder")
    if card.source == "digits":
        train, test = _digits()
    elif card.source == "synthetic":
        train, test = synthetic_images(card)
    else:
        train, test = load_hub(card, data_path)
    train, test = Images(*train), Images(*test)
    if limit_train is not None:
        if limit_train > len(train):
            raise UserError(f"--limit-train {limit_train}: {card.name} has {len(train)} training images")
        train = train.take(limited_rows(train.labels, limit_train))
    if image_size is not None and image_size != train.pixels.shape[-1]:
        train, test = _resized(train, image_size), _resized(test, image_size)
    return Dataset(card, train, test)


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


def _resized(images: Images, size: int) -> Images:
    from torchvision.transforms.v2 import functional as transforms

    return Images(transforms.resize(images.pixels, [size, size], antialias=True), images.labels)
