"""Instance-dependent noise (Xia et al., "Part-dependent Label Noise", NeurIPS 2020, Algorithm 2, and released code).

Each image has its own flip rate, and its pixels decide which classes it is taken for.
"""

from __future__ import annotations

import numpy as np

from noisybench.core import rng
from noisybench.noise.request import NoiseKind, NoiseRequest

RATE_STD = 0.1
CHUNK = 1024


def instance_dependent(request: NoiseRequest) -> tuple[np.ndarray, str]:
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
            features = request.pixels(rows)
            if projection is None:
                drawn = rng.generator(request.seed, "noise", "projection", label)
                projection = drawn.standard_normal((features.shape[1], classes))
            shares = instance_transitions(features @ projection, label, flip_rates[rows])
            noisy[rows] = draw(shares, uniforms[rows, 1])
    return noisy, (
        f"each image flips at its own rate, normal around the rate (std {RATE_STD}) truncated to [0, 1], to classes by "
        f"softmax of its pixels times a random matrix of its class; drawn image by image, the flip rates' mean is "
        f"{flip_rates.mean():.4f}"
    )


INSTANCE_DEPENDENT = NoiseKind(
    "part-dependent noise (Xia et al. 2020): each image its own rate around the rate, pixels choose the class",
    instance_dependent,
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
