"""Instance-dependent noise (Xia et al., "Part-dependent Label Noise", NeurIPS 2020, Algorithm 2, and released code).

Each image has its own flip rate, and its pixels decide which classes it is taken for. The released code takes pixels
from 0 to 255 as they are: one score then stands far above the others, and most flips of a class go to one or two
classes. With normalised pixels the scores are closer and flips spread nearly evenly: a variant of its own here.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from noisybench.core import rng
from noisybench.noise.request import NoiseKind, NoiseRequest

RATE_STD = 0.1
CHUNK = 1024


def instance_dependent(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Part-dependent noise as released: x is the image's pixels, 0 to 255."""
    return _part_dependent(request, request.pixels, "pixels (0 to 255)")


def instance_dependent_normalised(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """The same with the pixels that a network sees: in [0, 1], less the card's mean, by its standard deviation."""
    mean, std = (np.array(values)[:, None] for values in (request.card.mean, request.card.std))

    def normalised(rows: np.ndarray) -> np.ndarray:
        pixels = request.pixels(rows)
        by_channel = pixels.reshape(len(pixels), len(mean), -1)
        return ((by_channel / 255 - mean) / std).reshape(pixels.shape)

    return _part_dependent(request, normalised, "normalised pixels")


def _part_dependent(
    request: NoiseRequest, features_of: Callable[[np.ndarray], np.ndarray], what: str
) -> tuple[np.ndarray, str]:
    """Flip rate q of an image: normal around the requested rate with standard deviation 0.1, truncated to [0, 1].

    An image x of class y keeps its label with 1−q; the rest goes to the other classes by softmax(x·W_y), where W_y
    (D×C) is standard normal, one for each class. Every image draws on its own, so the achieved rate is random.
    """
    from scipy.stats import truncnorm

    labels, classes, rate = request.labels, request.num_classes, request.rate
    uniforms = rng.generator(request.seed, "noise", "instance-dependent").random((len(labels), 2))
    low, high = (0 - rate) / RATE_STD, (1 - rate) / RATE_STD
    flip_rates = truncnorm.ppf(uniforms[:, 0], low, high, loc=rate, scale=RATE_STD)
    noisy = labels.copy()
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        projection = None
        for start in range(0, len(members), CHUNK):
            rows = members[start : start + CHUNK]
            features = features_of(rows)
            if projection is None:
                drawn = rng.generator(request.seed, "noise", "projection", label)
                projection = drawn.standard_normal((features.shape[1], classes))
            shares = instance_transitions(features @ projection, label, flip_rates[rows])
            noisy[rows] = draw(shares, uniforms[rows, 1])
    return noisy, (
        f"each image flips at its own rate, normal around the rate (std {RATE_STD}) truncated to [0, 1], to classes by "
        f"softmax of its {what} times a random matrix of its class; drawn image by image, the flip rates' mean is "
        f"{flip_rates.mean():.4f}"
    )


INSTANCE_DEPENDENT = NoiseKind(
    "part-dependent noise (Xia et al. 2020): each image its own rate around the rate, pixels choose the class",
    instance_dependent,
    release=2,  # 1 normalised the pixels
)
INSTANCE_DEPENDENT_NORMALISED = NoiseKind(
    "the same with normalised pixels, which spread the flips nearly evenly", instance_dependent_normalised
)


def instance_transitions(scores: np.ndarray, label: int, flip_rates: np.ndarray) -> np.ndarray:
    """n×C float64, each image's own transition row.

    Args:
        scores: n×C, x·W_y of images of one class.
        label: that class.
        flip_rates: n.
    """
    scores = scores.copy()
    scores[:, label] = -np.inf
    likelihood = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares = flip_rates[:, None] * likelihood / likelihood.sum(axis=1, keepdims=True)
    shares[:, label] = 1 - flip_rates
    return shares


def draw(shares: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
    """One class (int64) for each row of probabilities, by one uniform number each (inverse of the distribution)."""
    passed = shares.cumsum(axis=1) <= uniforms[:, None]
    # A cumulative sum may end a rounding error below 1: then the last class that has a share is meant.
    last = shares.shape[1] - 1 - (shares[:, ::-1] > 0).argmax(axis=1)
    return np.minimum(passed.sum(axis=1), last)
