"""The noise models: from clean labels to the labels an imperfect annotator would have given.

Every model draws by exact counts: a class of n images with transition row T_i gives label j to n·T_ij of them, rounded
so that the counts add up. Which images is drawn under the key (seed, "noise"). No global generator is touched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from noisybench import rng
from noisybench.cards import DatasetCard
from noisybench.errors import UserError
from noisybench.noise.artifact import NoiseArtifact
from noisybench.stratify import largest_remainder


@dataclass(frozen=True)
class NoiseRequest:
    """What a noise model may look at.

    Attributes:
        labels: N int64, clean labels of the official train part.
        num_classes: C.
        rate: requested rate, in [0, 1).
        seed: key of the draw.
        card: the dataset's card.
        authors: draw as the MSLG authors' code does, where that differs.
    """

    labels: np.ndarray
    num_classes: int
    rate: float
    seed: int
    card: DatasetCard
    authors: bool = False


@dataclass(frozen=True)
class NoiseKind:
    """One noise model: what its rate means, and the function from a request to (noisy labels, rule in words)."""

    summary: str
    make: Callable[[NoiseRequest], tuple[np.ndarray, str]]


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


def _flip(request: NoiseRequest, matrix: np.ndarray, meaning: str) -> tuple[np.ndarray, str]:
    if request.authors:
        return flip_as_authors(request.labels, matrix, request.seed), meaning + "; the MSLG authors' draw"
    drawn = rng.generator(request.seed, "noise")
    return flip_by_matrix(request.labels, matrix, drawn), meaning + "; exact counts per class"


def _none(request: NoiseRequest) -> tuple[np.ndarray, str]:
    return request.labels.copy(), "labels as they are"


def _symmetric(request: NoiseRequest) -> tuple[np.ndarray, str]:
    matrix = symmetric_matrix(request.num_classes, request.rate)
    return _flip(request, matrix, "rate/(C-1) to each other class, the true class excluded")


def _symmetric_inclusive(request: NoiseRequest) -> tuple[np.ndarray, str]:
    matrix = symmetric_matrix(request.num_classes, request.rate, inclusive=True)
    return _flip(request, matrix, "rate/C to every class, the true class included: rate*(C-1)/C really flip")


def _asymmetric(request: NoiseRequest) -> tuple[np.ndarray, str]:
    if not request.card.asymmetric:
        raise UserError(f"noise 'asymmetric': the card of dataset {request.card.name!r} names no class mapping")
    ids = {name: position for position, name in enumerate(request.card.classes)}
    mapping = {ids[source]: ids[target] for source, target in request.card.asymmetric.items()}
    matrix = mapped_matrix(request.num_classes, request.rate, mapping)
    words = ", ".join(f"{source}->{target}" for source, target in request.card.asymmetric.items())
    return _flip(request, matrix, f"each of these classes at the rate, the others clean: {words}")


def _pair_flip(request: NoiseRequest) -> tuple[np.ndarray, str]:
    mapping = {i: (i + 1) % request.num_classes for i in range(request.num_classes)}
    return _flip(request, mapped_matrix(request.num_classes, request.rate, mapping), "each class to the next one")


NOISES: dict[str, NoiseKind] = {
    "none": NoiseKind("labels as the dataset ships them", _none),
    "symmetric": NoiseKind("a label flips to any other class; the rate is the share that really flips", _symmetric),
    "symmetric-inclusive": NoiseKind(
        "a label is redrawn from all classes, the true one too; rate*(C-1)/C really flip",
        _symmetric_inclusive,
    ),
    "asymmetric": NoiseKind("look-alike classes of the dataset's card; the rate is per affected class", _asymmetric),
    "pair-flip": NoiseKind("each class flips to the next one", _pair_flip),
}


def make_noise(kind: str, request: NoiseRequest) -> NoiseArtifact:
    """Draw one noise model's labels.

    Args:
        kind: a key of :data:`NOISES`.
        request: labels, rate and key of the draw.
    """
    noisy, rule = NOISES[kind].make(request)
    return NoiseArtifact(
        kind=kind,
        rule=rule,
        requested_rate=request.rate,
        seed=request.seed,
        num_classes=request.num_classes,
        clean=request.labels,
        noisy=noisy,
    )
