"""Training augmentation as batched tensor operations, and normalisation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import groupby

import torch
from torch import Tensor

from noisybench.core.errors import UserError, one_line
from noisybench.data.augmentations import Augmentation, Draws
from noisybench.data.augmentations.draws import DrawTables
from noisybench.data.augmentations.placement import Placement, move
from noisybench.spec import registry
from noisybench.spec.values import AugmentConfig

STRONG = "randaugment"  # what a strong view has beyond the run's own augmentation


class Augmenter:
    """Augments batches of uint8 images.

    Each augmentation draws under a key of its own: (seed, purpose, its name, occasion). So a sample's augmentation is
    the same whatever the batch, its order or the number of processes, and adding one moves no other.

    Args:
        config: which augmentations.
        num_samples: of the dataset that samples are numbered in.
        seed: the run's.
        purpose: names the set of images, e.g. ``"augment"`` for the train set.
        device: where images are.
    """

    def __init__(self, config: AugmentConfig, num_samples: int, seed: int, purpose: str, device: torch.device):
        self._steps = [
            (name, _make(name, settings), DrawTables(num_samples, (seed, purpose, name), device))
            for name, settings in switched_on(config).items()
        ]
        self._strong = DrawTables(num_samples, (seed, f"{purpose}-strong"), device)

    def __call__(self, images: Tensor, sample: Tensor, occasion: tuple[int, ...], strength: str = "weak") -> Tensor:
        """Augment a batch.

        Args:
            images: N×C×H×W uint8; left as they are.
            sample: N int64, the dataset's own indices.
            occasion: key of the draws besides the sample: epoch, pass, view and so on.
            strength: ``"weak"``, or ``"strong"``: RandAugment after all others.
        """
        given = images
        for moves, several in groupby(self._steps, key=lambda step: isinstance(step[1], Placement)):
            steps = [(name, augmentation, Draws(tables, sample, occasion)) for name, augmentation, tables in several]
            if moves:
                images = move(images, [(each, draws) for _, each, draws in steps if isinstance(each, Placement)])
                continue
            if images is given:  # other views are made from it too
                images = images.clone()
            for step in steps:
                images = _applied(*step, images)
        if strength == "strong":
            draws = Draws(self._strong, sample, occasion)
            images = _applied(STRONG, _make(STRONG, {}), draws, images)
        return images


def switched_on(config: AugmentConfig) -> dict[str, dict]:
    """The settings of each augmentation that is on, by name in the order they are applied."""
    own = {
        "crop": {"padding": config.crop_padding} if config.crop_padding else None,
        "horizontal-flip": {} if config.horizontal_flip else None,
        "vertical-flip": {} if config.vertical_flip else None,
    }
    on = {name: settings for name, settings in own.items() if settings is not None}
    further = sorted(config.extra, key=lambda name: (registry.load("augmentation", name).order, name))
    return on | {name: config.extra[name] for name in further}


def _make(name: str, settings: dict) -> Augmentation:
    kind = registry.load("augmentation", name)
    with _told(name):
        return kind(kind.Settings(**settings))


@contextlib.contextmanager
def _told(name: str) -> Iterator[None]:
    """Whatever an augmentation raises, which may be of another package, is told with its name."""
    try:
        yield
    except Exception as error:
        raise UserError(f"augmentation {name!r} failed: {type(error).__name__}: {one_line(error)}") from error


def _applied(name: str, augmentation: Augmentation, draws: Draws, images: Tensor) -> Tensor:
    """What an augmentation makes of a batch.

    Raises:
        UserError: it failed, or gave no such images.
    """
    with _told(name):
        made = augmentation.apply(images, draws)
    wanted = f"{images.dtype} of shape {tuple(images.shape)} on {images.device}"
    found = type(made).__name__
    if isinstance(made, Tensor):
        found = f"{made.dtype} of shape {tuple(made.shape)} on {made.device}"
    if found != wanted:
        raise UserError(f"augmentation {name!r} made {found} of {wanted}")
    return made


class Normalizer:
    """uint8 images to floats with the dataset's mean and standard deviation (per channel, of values in [0, 1])."""

    def __init__(self, mean: list[float], std: list[float], device: torch.device, dtype: torch.dtype):
        self.device = device
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self._scale = scale.to(device, dtype)[:, None, None]
        self._shift = shift.to(device, dtype)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        return torch.addcmul(self._shift, images.to(self._scale.dtype), self._scale)
