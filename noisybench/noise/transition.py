"""Labels by a transition matrix: the class alone decides, by exact counts.

A class of n images with transition row T_i gives label j to n·T_ij of them, rounded so that the counts add up. Which
images is drawn under the key (seed, "noise"). No global generator is touched.
"""

from __future__ import annotations

import numpy as np

from noisybench import rng
from noisybench.noise.request import NoiseRequest
from noisybench.stratify import largest_remainder


def symmetric_matrix(num_classes: int, rate: float, *, inclusive: bool = False) -> np.ndarray:
    """C×C float64. Exclusive: r/(C−1) on every other class. Inclusive: r/C on every class, the true one too."""
    others = rate / num_classes if inclusive else rate / (num_classes - 1)
    matrix = np.full((num_classes, num_classes), others)
    np.fill_diagonal(matrix, 1 - rate + others if inclusive else 1 - rate)
    return matrix


def mapped_matrix(num_classes: int, rate: float, mapping: dict[int, int]) -> np.ndarray:
    """C×C float64: class i keeps 1−r and gives r to ``mapping[i]``; classes not in the mapping stay clean."""
    matrix = np.eye(num_classes)
    for source, target in mapping.items():
        matrix[source, source] -= rate
        matrix[source, target] += rate
    return matrix


def flip_by_matrix(labels: np.ndarray, matrix: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Noisy labels (N int64) with exact counts per (class, label), drawn uniformly within each class."""
    noisy = labels.copy()
    for i, row in enumerate(matrix):
        members = generator.permutation(np.flatnonzero(labels == i))
        counts = largest_remainder(row * len(members), len(members), generator)
        noisy[members] = np.repeat(np.arange(len(row)), counts)
    return noisy


def flip_as_authors(labels: np.ndarray, matrix: np.ndarray, seed: int) -> np.ndarray:
    """The MSLG authors' routine: for each class i and label j ≠ i in order, floor(n_i·T_ij) of the images of class i
    that are still unflipped, by NumPy's legacy generator (whose stream is frozen), so labels match theirs exactly."""
    legacy = np.random.RandomState(seed)
    noisy = labels.copy()
    for i, row in enumerate(matrix):
        unflipped = np.flatnonzero(labels == i)
        size = len(unflipped)
        for j, share in enumerate(row):
            count = int(size * share)
            if i == j or count == 0:
                continue
            chosen = legacy.choice(len(unflipped), count, replace=False)
            noisy[unflipped[chosen]] = j
            unflipped = np.delete(unflipped, chosen)
    return noisy


def flip(request: NoiseRequest, matrix: np.ndarray, meaning: str) -> tuple[np.ndarray, str]:
    """Noisy labels by the protocol's routine, and the rule in words."""
    if request.authors:
        return flip_as_authors(request.labels, matrix, request.seed), meaning + "; the MSLG authors' draw"
    drawn = rng.generator(request.seed, "noise")
    return flip_by_matrix(request.labels, matrix, drawn), meaning + "; exact counts per class"
