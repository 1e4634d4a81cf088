"""What is in a noise artifact, in numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisybench.noise.artifact import NoiseArtifact


@dataclass(frozen=True)
class Confusion:
    """One cell off the diagonal: how many images of class ``true`` have label ``given``, and their share of it."""

    true: str
    given: str
    count: int
    share: float


def class_names(artifact: NoiseArtifact) -> list[str]:
    """The classes' names, or their ids where the artifact knows none."""
    return list(artifact.classes) or [str(i) for i in range(artifact.num_classes)]


def per_class_rates(artifact: NoiseArtifact) -> np.ndarray:
    """C float64, the share of each class whose label is wrong; NaN for a class without images."""
    sizes = np.bincount(artifact.clean, minlength=artifact.num_classes)
    wrong = np.bincount(artifact.clean[artifact.noisy != artifact.clean], minlength=artifact.num_classes)
    return np.divide(wrong, sizes, out=np.full(artifact.num_classes, np.nan), where=sizes > 0)


def largest_confusions(artifact: NoiseArtifact, most: int = 10) -> list[Confusion]:
    """The pairs of classes that most labels were flipped between, the largest count first."""
    counts = np.zeros((artifact.num_classes,) * 2, dtype=np.int64)
    np.add.at(counts, (artifact.clean, artifact.noisy), 1)
    sizes = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    names = class_names(artifact)
    largest = np.argsort(-counts, axis=None, kind="stable")[:most]
    cells = [divmod(int(cell), artifact.num_classes) for cell in largest]
    return [Confusion(names[i], names[j], int(counts[i, j]), counts[i, j] / sizes[i]) for i, j in cells if counts[i, j]]
