"""Feature-dependent noise by the MSLG authors' procedure: the images a student finds most like another class.

Source: Algan & Ulusoy, arXiv 2003.10471 and 2007.05836, released code. It draws nothing. The authors' sort leaves ties
open; here every sort is stable.
"""

from __future__ import annotations

import numpy as np

from noisybench.noise.predictions import FILE, read_predictions
from noisybench.noise.request import NoiseKind, NoiseRequest


def feature_dependent(request: NoiseRequest) -> tuple[np.ndarray, str]:
    """Exactly int(N·rate) labels differ from the clean ones.

    Images whose most likely class is not their label take that class, the most confident first. If they are too few,
    of the other images those with the most likely second choice take it.
    """
    noisy, tied = flip_by_predictions(
        request.labels, read_predictions(request), int(len(request.labels) * request.rate)
    )
    flips = int((noisy != request.labels).sum())
    return noisy, (
        f"int(N*rate) labels: the student's wrong first choices, then its likeliest second choices; ties by stable "
        f"ascending sorts taken from the end (within an image the highest class id, among images the last row); "
        f"{tied} of the {flips} flips took a second choice that tied with another class"
    )


FEATURE_DEPENDENT = NoiseKind(
    "images a student takes for another class (the MSLG authors' procedure); exactly int(N*rate) flip",
    feature_dependent,
    file=FILE,
)


def flip_by_predictions(labels: np.ndarray, probabilities: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """Noisy labels (N int64), and how many flips took a second choice that tied with the third.

    Args:
        labels: N int64, clean.
        probabilities: N×C.
        count: how many labels to flip.
    """
    ranked = np.argsort(probabilities, axis=1, kind="stable")
    first, second = ranked[:, -1], ranked[:, -2]
    noisy = labels.copy()
    wrong = np.flatnonzero(first != labels)
    chosen = _largest(probabilities, wrong, first, count)
    noisy[chosen] = first[chosen]
    right = np.flatnonzero(first == labels)
    chosen = _largest(probabilities, right, second, count - len(chosen))
    noisy[chosen] = second[chosen]
    if probabilities.shape[1] < 3:
        return noisy, 0
    ties = probabilities[chosen, second[chosen]] == probabilities[chosen, ranked[chosen, -3]]
    return noisy, int(ties.sum())


def _largest(probabilities: np.ndarray, rows: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` rows (all, if fewer) with the largest probability of their class."""
    order = np.argsort(probabilities[rows, classes[rows]], kind="stable")
    return rows[order[max(0, len(rows) - count) :]]
