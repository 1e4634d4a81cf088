"""Transition matrices estimated from a model's predictions on noisily labelled images: no clean label is read.

And what a few checked labels say by themselves, against which those estimates can be held.
"""

from __future__ import annotations

import numpy as np


def anchor_points(probabilities: np.ndarray) -> np.ndarray:
    """T (C×C float64) by anchor points (Liu & Tao 2016; Patrini et al. 2017, section 4.1).

    Row i is the model's prediction on the image it is surest to be of class i, which is taken for one that is certain
    to be of class i. The model must estimate P(given label | image): trained by cross-entropy on the noisy labels,
    and not so long that it has learned them by heart.

    Args:
        probabilities: N×C.
    """
    rows = probabilities[probabilities.argmax(axis=0)].astype(np.float64)
    return rows / rows.sum(axis=1, keepdims=True)


def confident_joint(given: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """T (C×C float64) by confident learning (Northcutt, Jiang & Chuang 2021, equations 1 to 3).

    An image counts as of class j if the model gives j at least the mean probability that it gives j on the images
    labelled j; of several such classes the likeliest. The counts by (given, counted-as) class, scaled to the number
    of images with each given label, estimate the joint distribution; T is it, conditioned on the class. A class that
    no image counts as gets its unit row.

    Args:
        given: N int64, noisy labels.
        probabilities: N×C, best of a model that was not trained on the image.
    """
    classes = probabilities.shape[1]
    sizes = np.bincount(given, minlength=classes)
    # A label that nobody was given has no images to average over: nothing is confidently of that class.
    thresholds = np.array([probabilities[given == j, j].mean() if sizes[j] else np.inf for j in range(classes)])
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    counted = np.flatnonzero(above.max(axis=1) >= 0)
    joint = np.zeros((classes, classes))
    np.add.at(joint, (given[counted], above[counted].argmax(axis=1)), 1)
    totals = joint.sum(axis=1, keepdims=True)
    joint *= np.divide(sizes[:, None], totals, out=np.zeros_like(totals), where=totals > 0)
    of_class = joint.sum(axis=0)
    return np.where(of_class[:, None] > 0, joint.T / np.maximum(of_class, 1e-300)[:, None], np.eye(classes))


def noise_rate(matrix: np.ndarray, probabilities: np.ndarray) -> float:
    """The share of wrong labels under a transition matrix, the classes being as frequent as the model predicts them.

    Args:
        matrix: C×C, T[i, j] = P(given j | class i).
        probabilities: N×C, predictions on the images.
    """
    frequencies = np.bincount(probabilities.argmax(axis=1), minlength=len(matrix)) / len(probabilities)
    return float(np.sum(frequencies * (1 - np.diag(matrix))))


def wilson_interval(hits: int, count: int, z: float = 1.959964) -> tuple[float, float]:
    """The interval for a share of which ``hits`` of ``count`` were seen (Wilson 1927); 95 % by default."""
    share = hits / count
    centre = share + z**2 / (2 * count)
    half = z * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    scale = 1 + z**2 / count
    return float((centre - half) / scale), float((centre + half) / scale)


ESTIMATORS = {
    "anchor points": lambda given, probabilities: anchor_points(probabilities),
    "confident joint": confident_joint,
}
