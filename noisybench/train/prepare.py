"""From a configuration to the data of a run: dataset, noise and splits, each with its fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from noisybench.data import Dataset, Images, SplitInput, Splits, loaded, open_limited, split
from noisybench.data.augment import Augmenter, Normalizer
from noisybench.data.loader import Stream
from noisybench.noise import NoiseArtifact, NoiseRequest, make_noise, transition_matrix
from noisybench.spec import registry
from noisybench.spec.cards import SplitSizes
from noisybench.spec.checked_labels import read_checked
from noisybench.spec.config import ResolvedConfig


@dataclass(frozen=True)
class RunData:
    """Everything the benchmark knows of a run's data. True labels stay here: a method never sees them.

    Attributes:
        dataset: the official parts.
        noise: labels given to the official train part.
        noise_rate: what is known of the rate beforehand: requested of the noise model, stated by its file, or expected
            of labels as shipped (0 if nothing is known).
        splits: who sees which row.
        given_labels: n int64, of the noisy train set in its order.
        true_labels: the same for true labels; None unless all of them are known.
        known: N int64, true labels of the official train part, −1 where nobody knows.
    """

    dataset: Dataset
    noise: NoiseArtifact
    noise_rate: float
    splits: Splits
    given_labels: np.ndarray
    true_labels: np.ndarray | None
    known: np.ndarray

    @property
    def achieved_rate(self) -> float | None:
        """The fraction of wrong labels within the official train part; None where true labels are unknown."""
        return float(np.mean(self.noise.noisy != self.known)) if (self.known >= 0).all() else None

    @property
    def train_noise_rate(self) -> float | None:
        """The fraction of wrong labels within the noisy train set; None where true labels are unknown."""
        return None if self.true_labels is None else float(np.mean(self.given_labels != self.true_labels))

    def train_transition_matrix(self) -> np.ndarray | None:
        """C×C float64, the realised transition matrix within the noisy train set; None where it is unknown."""
        if self.true_labels is None:
            return None
        return transition_matrix(self.true_labels, self.given_labels, self.dataset.num_classes)

    def clean_images(self, rows: np.ndarray) -> Images:
        """Images with true labels, from the part the clean sets are cut from."""
        if self.splits.clean_part == "train":
            return Images(self.dataset.train.pixels.take(rows), self.known[rows])
        return self.dataset.parts[self.splits.clean_part].take(rows)

    def train_files(self) -> list[str] | None:
        """The files of the noisy train set in its order; None where images are no files."""
        pixels = self.dataset.train.pixels
        rows = self.splits.train.tolist()
        files = [file for row in rows if (file := pixels.file(row)) is not None]
        return files if len(files) == len(rows) else None


def official_parts(config: ResolvedConfig, fits: Callable[[Dataset], object] | None = None) -> Dataset:
    """The dataset of a configuration.

    Args:
        fits: is given the dataset with its labels before any image is decoded; raises if it is too small.

    Raises:
        UserError: the data is missing or unreadable.
    """
    opened = open_limited(
        registry.dataset_card(config.dataset),
        data_path=config.data_path,
        image_size=config.image_size,
        limit_train=config.limit_train,
        checked=read_checked(config.clean_labels) if config.clean_labels is not None else None,
        fits=fits,
    )
    return loaded(opened, config.memory_budget)


def noise_request(config: ResolvedConfig, dataset: Dataset) -> NoiseRequest:
    """What a configuration asks of its noise model, over the dataset's whole official train part."""
    card = dataset.card

    def pixels(rows: np.ndarray) -> np.ndarray:
        return dataset.train.pixels.fetch(rows).flatten(1).double().numpy()

    return NoiseRequest(
        labels=dataset.train.labels,
        num_classes=dataset.num_classes,
        rate=config.noise_rate,
        seed=config.noise_key,
        card=card,
        authors=config.protocol == "authors",
        file=config.noise_file,
        pixels_of=pixels,
    )


def draw_noise(config: ResolvedConfig, dataset: Dataset) -> NoiseArtifact:
    """The noise of a configuration.

    Raises:
        UserError: the noise model's file is wrong or was made for other images.
    """
    return make_noise(config.noise, noise_request(config, dataset))


def prepare(config: ResolvedConfig) -> RunData:
    """Load the dataset, draw the noise over its whole official train part, and split.

    Raises:
        UserError: the data is missing or unreadable, or the parts asked for do not fit.
    """
    return prepare_dataset(config, official_parts(config, lambda dataset: _split(config, dataset)))


def _true_labels(config: ResolvedConfig, dataset: Dataset) -> np.ndarray:
    """N int64, true labels of the train part, −1 where nobody knows."""
    # Whoever asks for noise on labels nobody vouches for says that they are right.
    return dataset.truth if config.noise == "none" else dataset.train.labels


def _split(config: ResolvedConfig, dataset: Dataset) -> Splits:
    labels, known = dataset.train.labels, _true_labels(config, dataset)
    whole = SplitInput(
        labels,
        len(dataset.test),
        known=None if known is labels else known,
        own_clean=dataset.clean.labels if dataset.clean is not None else None,
    )
    sizes = SplitSizes(
        meta_size=config.meta_size, noisy_val_size=config.noisy_val_size, clean_val_size=config.clean_val_size
    )
    return split(config.protocol, whole, sizes, config.seed)


def prepare_dataset(config: ResolvedConfig, dataset: Dataset) -> RunData:
    """The same for a dataset at hand."""
    known, splits = _true_labels(config, dataset), _split(config, dataset)
    noise = draw_noise(config, dataset)
    true = known[splits.train]
    return RunData(
        dataset=dataset,
        noise=noise,
        # Nobody asked for the noise of labels as shipped: the rate is what is expected of them.
        noise_rate=config.noise_rate if config.noise == "none" else noise.requested_rate,
        splits=splits,
        given_labels=noise.noisy[splits.train],
        true_labels=true if (true >= 0).all() else None,
        known=known,
    )


@dataclass(frozen=True)
class Streams:
    """The data of a run on the device. A set that is empty is None."""

    train: Stream
    meta: Stream | None
    noisy_val: Stream | None
    clean_val: Stream | None
    test: Stream


def streams(config: ResolvedConfig, data: RunData, device: torch.device, dtype: torch.dtype) -> Streams:
    """Put every set on the device, where it is resident."""
    card, splits, dataset = data.dataset.card, data.splits, data.dataset
    channels = len(card.mean)
    mean, std = (card.mean, card.std) if config.normalise else ([0.0] * channels, [1.0] * channels)
    normalize = Normalizer(mean, std, device, dtype)

    def augmenter(purpose: str, num_samples: int) -> Augmenter:
        return Augmenter(config.augment, num_samples, config.seed, purpose, device)

    def stream(images: Images, labels: np.ndarray, rows: np.ndarray, augment: Augmenter | None = None):
        return Stream(images, labels, rows, augment, normalize, workers=config.workers) if len(rows) else None

    def clean(rows: np.ndarray, augment: Augmenter | None = None) -> Stream | None:
        images = data.clean_images(rows)
        return stream(images, images.labels, rows, augment)

    official = len(dataset.train)
    of_meta = augmenter("meta-augment", len(dataset.parts[splits.clean_part])) if config.augment.meta_set else None
    test = dataset.test.take(splits.test)
    return Streams(
        train=stream(dataset.train.take(splits.train), data.given_labels, splits.train, augmenter("augment", official)),
        meta=clean(splits.meta, of_meta),
        noisy_val=stream(dataset.train.take(splits.noisy_val), data.noise.noisy[splits.noisy_val], splits.noisy_val),
        clean_val=clean(splits.clean_val),
        test=stream(test, test.labels, splits.test),
    )
