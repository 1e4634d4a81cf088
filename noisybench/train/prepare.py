"""From a configuration to the data of a run: dataset, noise and splits, each with its fingerprint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from noisybench.data import Dataset, Images, SplitInput, Splits, loaded, open_limited, split
from noisybench.data.augment import Augmenter, Normalizer
from noisybench.data.decode import Preprocess
from noisybench.data.features import Features, FeatureStream, ViewPool
from noisybench.data.loader import Stream
from noisybench.noise import NoiseArtifact, NoiseRequest, make_noise, transition_matrix
from noisybench.spec import registry
from noisybench.spec.cards import SplitSizes
from noisybench.spec.checked_labels import read_checked
from noisybench.spec.config import ResolvedConfig
from noisybench.train.needs import refuse_what_no_split_has


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
        features: of a frozen run; None until they have been looked up.
    """

    dataset: Dataset
    noise: NoiseArtifact
    noise_rate: float
    splits: Splits
    given_labels: np.ndarray
    true_labels: np.ndarray | None
    known: np.ndarray
    features: Features | None = None

    def without_test(self) -> RunData:
        """The same with no test image and no test label in it."""
        none = np.empty(0, np.int64)
        return replace(
            self,
            dataset=replace(self.dataset, test=self.dataset.test.take(none)),
            splits=replace(self.splits, test=none),
        )

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
        pixels = self.dataset.parts[self.splits.clean_part].pixels
        return Images(pixels.take(rows), self.clean_labels(rows))

    def clean_labels(self, rows: np.ndarray) -> np.ndarray:
        """Their true labels alone (int64)."""
        known = self.known if self.splits.clean_part == "train" else self.dataset.parts[self.splits.clean_part].labels
        return known[rows]

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
    card = registry.dataset_card(config.dataset)
    opened = open_limited(
        card,
        data_path=config.data_path,
        preprocess=Preprocess.of(card, config.side, config.preprocess),
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
        UserError: the data is missing or unreadable, or the parts asked for do not fit or lack what the method needs.
    """

    def fits(dataset: Dataset) -> None:
        refuse_what_no_split_has(config, _split(config, dataset), _true_labels(config, dataset))

    return prepare_dataset(config, official_parts(config, fits))


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
    """The data of a run on the device. A set that is empty is None, and the test set where a run may not have it."""

    train: Stream
    meta: Stream | None
    noisy_val: Stream | None
    clean_val: Stream | None
    test: Stream | None


def streams(config: ResolvedConfig, data: RunData, device: torch.device, dtype: torch.dtype) -> Streams:
    """Put every set on the device, where it is resident; of a frozen run the features of its images.

    Raises:
        RuntimeError: a frozen run's features have not been looked up.
    """
    if config.frozen:
        return _frozen_streams(config, data, (device, dtype))
    card, splits, dataset = data.dataset.card, data.splits, data.dataset
    asked = config.preprocess
    normalize = Normalizer(asked.mean or card.mean, asked.std or card.std, device, dtype)

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


def _frozen_streams(config: ResolvedConfig, data: RunData, place: tuple[torch.device, torch.dtype]) -> Streams:
    features, splits, dataset = data.features, data.splits, data.dataset
    if features is None:
        raise RuntimeError("a frozen run's features are looked up first: noisybench.train.extract.with_features")

    def pool(part: str, purpose: str) -> ViewPool | None:
        if not features.views:
            return None
        return ViewPool(features.views, len(dataset.parts[part]), (config.seed, purpose), place[0])

    def stream(part: str, rows: np.ndarray, labels: np.ndarray, drawn: ViewPool | None = None) -> FeatureStream | None:
        if not len(rows):
            return None
        return FeatureStream(features.parts[part], rows, labels, features.scaling, place, drawn)

    clean, noisy = splits.clean_part, data.noise.noisy
    of_meta = pool(clean, "meta-features") if config.augment.meta_set else None
    train = stream("train", splits.train, data.given_labels, pool("train", "features"))
    test = stream("test", splits.test, dataset.test.labels[splits.test])
    assert train is not None  # no split leaves it empty
    return Streams(
        train=train,
        meta=stream(clean, splits.meta, data.clean_labels(splits.meta), of_meta),
        noisy_val=stream("train", splits.noisy_val, noisy[splits.noisy_val]),
        clean_val=stream(clean, splits.clean_val, data.clean_labels(splits.clean_val)),
        test=test,
    )
