"""Labels by a transition matrix: the class alone decides, by exact counts.

A class of n images with transition row T_i gives label j to n·T_ij of them, rounded so that the counts add up. Which
images is drawn under the key (seed, "noise"). No global generator is touched.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.core.shares import largest_remainder
from noisybench.noise.arrays import UNNAMED, read_arrays
from noisybench.noise.request import NoiseKind, NoiseRequest, NoiseTraits
from noisybench.spec.cards import DatasetCard


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


def symmetric(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Every other class is equally likely, the true one excluded."""
    matrix = symmetric_matrix(request.num_classes, request.rate)
    return flip(request, matrix, "rate/(C-1) to each other class, the true class excluded")


SYMMETRIC = NoiseKind(
    "a label flips to any other class; the rate is the share that really flips",
    symmetric,
    traits=NoiseTraits(symmetric=True),
)


def symmetric_inclusive(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Every class is equally likely, the true one too."""
    matrix = symmetric_matrix(request.num_classes, request.rate, inclusive=True)
    return flip(request, matrix, "rate/C to every class, the true class included: rate*(C-1)/C really flip")


SYMMETRIC_INCLUSIVE = NoiseKind(
    "a label is redrawn from all classes, the true one too; rate*(C-1)/C really flip",
    symmetric_inclusive,
    traits=NoiseTraits(symmetric=True),
)


def asymmetric(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """The dataset's convention: look-alike classes of its card, or the next class of the same superclass."""
    card = request.card
    names = card.asymmetric or next_in_superclass(card)
    if not names:
        raise UserError(f"noise 'asymmetric': the card of dataset {card.name!r} names no class mapping")
    ids = {name: position for position, name in enumerate(card.classes)}
    matrix = mapped_matrix(request.num_classes, request.rate, {ids[i]: ids[j] for i, j in names.items()})
    if not card.asymmetric:
        return flip(request, matrix, "each class at the rate to the next one of its superclass, by class id")
    words = ", ".join(f"{source}->{target}" for source, target in names.items())
    return flip(request, matrix, f"each of these classes at the rate, the others clean: {words}")


ASYMMETRIC = NoiseKind(
    "look-alike classes of the dataset's card, or the next class of the superclass; the rate is per affected class",
    asymmetric,
    # About half of the classes stay clean; the released code of JoCoR halves the rate here.
    traits=NoiseTraits(wrong_per_rate=0.5),
)


def next_in_superclass(card: DatasetCard) -> dict[str, str]:
    """Each class to the next one (by id) of its superclass, the last to the first (Patrini et al. 2017, CIFAR-100)."""
    mapping: dict[str, str] = {}
    for superclass in dict.fromkeys(card.superclass.values()):
        classes = [name for name in card.classes if card.superclass.get(name) == superclass]
        if len(classes) > 1:
            mapping |= dict(zip(classes, [*classes[1:], classes[0]], strict=True))
    return mapping


def pair_flip(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Each class to the one with the next id, the last to the first (Han et al. 2018)."""
    mapping = {i: (i + 1) % request.num_classes for i in range(request.num_classes)}
    return flip(request, mapped_matrix(request.num_classes, request.rate, mapping), "each class to the next one")


PAIR_FLIP = NoiseKind("each class flips to the next one", pair_flip)

SUM_TOLERANCE = 1e-6


def class_dependent(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Labels with the given matrix, realised by exact counts."""
    matrix = read_matrix(request.needed_file, request.num_classes)
    return flip(request, matrix, "the share of class i with label j is the given matrix's entry (i, j)")


CLASS_DEPENDENT = NoiseKind(
    "any transition matrix, realised by exact counts",
    class_dependent,
    rated=False,
    file="C×C matrix as CSV, or npz with 'transition_matrix'; rows sum to 1",
)


def read_matrix(file: Path, num_classes: int) -> np.ndarray:
    """Read a transition matrix (C×C float64; row: true class, column: given label) and check it.

    Args:
        file: a CSV of C rows of C numbers, an npy, or an npz that holds ``transition_matrix`` (as every noise artifact
            does).

    Raises:
        UserError: the file is missing, unreadable or no transition matrix of this size.
    """
    matrix = _read(file)
    if matrix.shape != (num_classes, num_classes):
        raise UserError(
            f"{file}: a matrix of {'×'.join(map(str, matrix.shape))}; a transition matrix over {num_classes} classes "
            f"has {num_classes}×{num_classes} entries"
        )
    wrong = ~(np.isfinite(matrix) & (matrix >= 0) & (matrix <= 1))
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        raise UserError(f"{file}: entry ({i}, {j}) is {matrix[i, j]:g}; a probability lies in [0, 1]")
    sums = matrix.sum(axis=1)
    worst = int(np.argmax(np.abs(sums - 1)))
    if abs(sums[worst] - 1) > SUM_TOLERANCE:
        transposed = np.allclose(matrix.sum(axis=0), 1, atol=SUM_TOLERANCE)
        hint = "; its columns do: transpose it" if transposed else ""
        raise UserError(f"{file}: row {worst} sums to {sums[worst]:.6g}; each row must sum to 1{hint}")
    return matrix / sums[:, None]


def _read(file: Path) -> np.ndarray:
    if file.suffix in (".npz", ".npy"):
        stored = read_arrays(file, "a matrix of numbers")
        found = stored.get("transition_matrix", stored.get(UNNAMED))
        if found is None or found.dtype.kind not in "fiu":
            raise UserError(f"{file}: holds {', '.join(stored) or 'nothing'}; no array of numbers 'transition_matrix'")
        return found.astype(np.float64)
    try:
        return np.loadtxt(file, delimiter=",", ndmin=2, dtype=np.float64, encoding="utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: not a matrix of numbers ({' '.join(str(error).split())})") from error
