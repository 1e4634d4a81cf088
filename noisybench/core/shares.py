"""Shares that add up exactly: stratified draws and largest-remainder rounding."""

from __future__ import annotations

import numpy as np

from noisybench.core import rng


def largest_remainder(shares: np.ndarray, total: int, generator: np.random.Generator) -> np.ndarray:
    """Round shares to whole numbers (int64) that sum to ``total``, each within 1 of its share.

    Args:
        shares: non-negative floats that sum to ``total``.
        total: what the counts must sum to.
        generator: breaks ties between equal remainders.
    """
    counts = np.floor(shares + 1e-9).astype(np.int64)
    missing = int(total - counts.sum())
    tie_break = generator.random(len(shares))
    largest_first = np.lexsort((tie_break, -(shares - counts).round(9)))
    counts[largest_first[:missing]] += 1
    return counts


def stratified_draw(labels: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Draw ``size`` rows without replacement, each class in proportion to its number (int64, in class order)."""
    if not size:
        return np.empty(0, dtype=np.int64)
    classes, class_sizes = np.unique(labels, return_counts=True)
    quotas = largest_remainder(class_sizes * (size / len(labels)), size, generator)
    drawn = [
        generator.permutation(np.flatnonzero(labels == c))[:quota] for c, quota in zip(classes, quotas, strict=True)
    ]
    return np.concatenate(drawn)


def limited_rows(labels: np.ndarray, size: int) -> np.ndarray:
    """The rows (int64, sorted) that ``limit_train`` keeps of a train part with these labels: the same for everybody."""
    return np.sort(stratified_draw(labels, size, rng.generator(0, "limit-train", size)))
