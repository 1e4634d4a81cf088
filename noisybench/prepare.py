"""From a configuration to the data of a run: dataset, noise and splits, each with its fingerprint."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from noisybench import registry
from noisybench.config import RunConfig
from noisybench.data import Dataset, Images, Splits, load_dataset, split
from noisybench.data.augment import Augmenter, Normalizer
from noisybench.data.loader import Stream
from noisybench.noise import NoiseArtifact, NoiseRequest, make_noise, transition_matrix


@dataclass(frozen=True)
class RunData:
    """Everything the benchmark knows of a run's data. True labels stay here: a method never sees them.

    Attributes:
        dataset: the official parts.
        noise: labels given to the official train part.
        splits: who sees which row.
        given_labels, true_labels: n int64, of the noisy train set in its order.
    """

    dataset: Dataset
    noise: NoiseArtifact
    splits: Splits
    given_labels: np.ndarray
    true_labels: np.ndarray

    @property
    def train_noise_rate(self) -> float:
        """The fraction of wrong labels within the noisy train set."""
        return float(np.mean(self.given_labels != self.true_labels))

    def train_transition_matrix(self) -> np.ndarray:
        """C×C float64, the realised transition matrix within the noisy train set."""
        return transition_matrix(self.true_labels, self.given_labels, self.dataset.num_classes)

    def clean_images(self, rows: np.ndarray) -> Images:
        """Images with true labels, from the part the clean sets are cut from."""
        part = self.dataset.train if self.splits.clean_part == "train" else self.dataset.test
        return part.take(rows)


def official_parts(config: RunConfig) -> Dataset:
    """The dataset of a configuration.

    Raises:
        UserError: the data is missing or unreadable.
    """
    card = registry.dataset_card(config.dataset)
    return load_dataset(card, data_path=config.data_path, image_size=config.image_size, limit_train=config.limit_train)


def noise_request(config: RunConfig, dataset: Dataset) -> NoiseRequest:
    """What a configuration asks of its noise model, over the dataset's whole official train part."""
    card = dataset.card

    def features(rows: np.ndarray) -> np.ndarray:
        normalize = Normalizer(card.mean, card.std, torch.device("cpu"), torch.float64)
        return normalize(dataset.train.pixels[torch.from_numpy(rows)]).flatten(1).numpy()

    return NoiseRequest(
        labels=dataset.train.labels,
        num_classes=dataset.num_classes,
        rate=config.noise_rate,
        seed=config.noise_key,
        card=card,
        authors=config.protocol == "authors",
        file=config.noise_file,
        features=features,
    )


def draw_noise(config: RunConfig, dataset: Dataset) -> NoiseArtifact:
    """The noise of a configuration.

    Raises:
        UserError: the noise model's file is wrong or was made for other images.
    """
    return make_noise(config.noise, noise_request(config, dataset))


def prepare(config: RunConfig) -> RunData:
    """Load the dataset, draw the noise over its whole official train part, and split.

    Raises:
        UserError: the data is missing or unreadable, or the parts asked for do not fit.
    """
    return prepare_dataset(config, official_parts(config))


def prepare_dataset(config: RunConfig, dataset: Dataset) -> RunData:
    """The same for a dataset at hand."""
    labels = dataset.train.labels
    splits = split(
        config.protocol,
        labels,
        len(dataset.test),
        meta_size=config.meta_size,
        noisy_val_size=config.noisy_val_size,
        clean_val_size=config.clean_val_size,
        seed=config.seed,
    )
    noise = draw_noise(config, dataset)
    return RunData(dataset, noise, splits, noise.noisy[splits.train], labels[splits.train])


@dataclass(frozen=True)
class Streams:
    """The data of a run on the device. A set that is empty is None."""

    train: Stream
    meta: Stream | None
    noisy_val: Stream | None
    clean_val: Stream | None
    test: Stream


def streams(config: RunConfig, data: RunData, device: torch.device, dtype: torch.dtype) -> Streams:
    """Put every set on the device."""
    card, splits = data.dataset.card, data.splits
    normalize = Normalizer(card.mean, card.std, device, dtype)
    official = len(data.dataset.train)

    def augmenter(purpose: str, num_samples: int) -> Augmenter:
        return Augmenter(config.augment, num_samples, config.seed, purpose, device)

    def clean(rows: np.ndarray, augment: Augmenter | None = None) -> Stream | None:
        if not len(rows):
            return None
        images = data.clean_images(rows)
        return Stream(images, images.labels, rows, augment, normalize)

    clean_size = official if splits.clean_part == "train" else len(data.dataset.test)
    noisy_val = None
    if len(splits.noisy_val):
        held_out = data.dataset.train.take(splits.noisy_val)
        noisy_val = Stream(held_out, data.noise.noisy[splits.noisy_val], splits.noisy_val, None, normalize)
    test = data.dataset.test.take(splits.test)
    return Streams(
        train=Stream(
            data.dataset.train.take(splits.train),
            data.given_labels,
            splits.train,
            augmenter("augment", official),
            normalize,
        ),
        meta=clean(splits.meta, augmenter("meta-augment", clean_size) if config.augment.meta_set else None),
        noisy_val=noisy_val,
        clean_val=clean(splits.clean_val),
        test=Stream(test, test.labels, splits.test, None, normalize),
    )
