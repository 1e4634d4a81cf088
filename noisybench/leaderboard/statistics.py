"""The numbers of a board, as plain functions of arrays. Fractions in, fractions out; scipy where it has them.

Intervals of a mean are percentile bootstrap intervals, stratified by cell (Agarwal et al., NeurIPS 2021, "rliable").
Intervals of a paired difference are Student's: over three seeds a bootstrap interval is too short to call a tie by.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy import stats

from noisybench.core import rng

CONFIDENCE = 0.95
RESAMPLES = 2000
TRIM = 0.25


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval; ``low`` and ``high`` are None where one run says nothing of the spread."""

    value: float
    low: float | None = None
    high: float | None = None


def spread(scores: np.ndarray) -> float | None:
    """Sample standard deviation (n − 1); None for a single run."""
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None


def mean_over_cells(cells: list[np.ndarray], key: str) -> list[Interval]:
    """The mean over cells of the mean over runs, every cell counting the same; one for each method.

    Args:
        cells: per cell M×n float64, the scores of the M methods' n runs; n may differ between cells.
        key: names the bootstrap's random stream. The methods share its draws, so none changes another's interval.
    """

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return np.mean([np.mean(sample, axis=axis) for sample in samples], axis=0)

    return _with_bootstrap(cells, statistic, key)


def interquartile_mean(cells: list[np.ndarray], key: str) -> list[Interval] | None:
    """The mean of the middle half of all runs' scores, over all cells together (Agarwal et al. 2021).

    None if the cells have different numbers of runs: a cell would count more than another.

    Args:
        cells, key: as for :func:`mean_over_cells`.
    """
    if len({scores.shape[1] for scores in cells}) != 1:
        return None

    def statistic(*samples: np.ndarray, axis: int = -1) -> np.ndarray:
        return stats.trim_mean(np.concatenate(samples, axis=axis), TRIM, axis=axis)

    return _with_bootstrap(cells, statistic, key)


def _with_bootstrap(cells: list[np.ndarray], statistic, key: str) -> list[Interval]:
    values = np.atleast_1d(statistic(*cells)).tolist()
    if min(scores.shape[1] for scores in cells) < 2:
        return [Interval(value) for value in values]
    found = stats.bootstrap(
        cells,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        axis=-1,
        rng=rng.generator(0, "bootstrap", key),
    ).confidence_interval
    return [Interval(*bounds) for bounds in zip(values, found.low.tolist(), found.high.tolist(), strict=True)]


def probability_of_improvement(cells: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """P(a run of the first scores higher than a run of the second), ties counted half, averaged over cells.

    In a cell this is Mann-Whitney's U over the number of pairs; no test is made, so it is just counted.
    """
    return float(np.mean([np.mean((np.sign(x[:, None] - y[None, :]) + 1) / 2) for x, y in cells]))


@dataclass(frozen=True)
class Differences:
    """Paired differences of every method to every other: M×M arrays, [i, j] is i − j, NaN where nothing pairs.

    Attributes:
        mean: mean over cells of the mean over pairs.
        low, high: the interval; NaN where a cell has a single pair.
        pairs: how many pairs, over all cells; 0 if any cell has none.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    pairs: np.ndarray

    def of(self, i: int, j: int) -> Interval | None:
        """The difference of method i to method j."""
        if not self.pairs[i, j]:
            return None
        low, high = self.low[i, j], self.high[i, j]
        bounds = (None, None) if np.isnan(low) else (float(low), float(high))
        return Interval(float(self.mean[i, j]), *bounds)

    def better(self) -> np.ndarray:
        """M×M bool: [i, j] if i − j lies above 0 with all of its interval."""
        return np.nan_to_num(self.low, nan=-1.0) > 0


def paired_differences(cells: list[np.ndarray]) -> Differences:
    """Paired differences with Student intervals.

    For one cell this is the paired t interval. Over several cells the mean of the cells' means has variance
    sum(s²/n)/K² and Welch-Satterthwaite degrees of freedom. Only pairs count that ran under equal conditions.

    Args:
        cells: per cell M×S float64, NaN where method m has no run under condition s (a seed with its noise and split).
    """
    means, variances, counts = [], [], []
    for scores in cells:
        both = scores[:, None, :] - scores[None, :, :]
        count = np.sum(~np.isnan(both), axis=2)
        with warnings.catch_warnings():  # no pair at all, or one: NaN is the answer then
            warnings.simplefilter("ignore", RuntimeWarning)
            means.append(np.nanmean(both, axis=2))
            variances.append(np.nanvar(both, axis=2, ddof=1) / count)
        counts.append(count)
    mean, count, of_mean = np.mean(means, axis=0), np.array(counts), np.array(variances)
    variance = of_mean.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = variance**2 / np.sum(of_mean**2 / (count - 1), axis=0)
    # Differences that do not vary at all leave 0/0 degrees of freedom: the interval is the point itself.
    freedom = np.where(variance == 0, 1.0, freedom)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * np.sqrt(variance) / len(cells)
    pairs = np.where((count > 0).all(axis=0), count.sum(axis=0), 0)
    return Differences(mean, mean - half, mean + half, pairs)


def ranks(better: np.ndarray) -> list[int]:
    """One plus the number of methods that are better beyond doubt: methods whose interval covers 0 tie.

    Args:
        better: M×M bool, [i, j] if i is better than j.
    """
    return [int(count) + 1 for count in better.sum(axis=0)]


def mean_ranks(cells: list[np.ndarray]) -> np.ndarray:
    """M float64: each method's rank by its mean in a cell (1 is best, ties share), averaged over cells.

    Args:
        cells: per cell, the methods' mean scores (M float64).
    """
    return np.mean([stats.rankdata(-scores, method="average") for scores in cells], axis=0)


def ties(order: list[int], better: np.ndarray) -> list[list[int]]:
    """The longest runs of methods, neighbours in ``order``, of which none is better than another: the bars of a
    critical-difference plot. Single methods are left out."""
    apart = better | better.T
    groups: list[list[int]] = []
    for start in range(len(order)):
        stop = start + 1
        while stop < len(order) and not any(apart[order[stop], order[k]] for k in range(start, stop)):
            stop += 1
        inside = groups and set(order[start:stop]) <= set(groups[-1])
        if stop - start > 1 and not inside:
            groups.append(order[start:stop])
    return groups


def difference_to(scores: np.ndarray, published: float) -> Interval:
    """Runs against a published number, which counts as exact: Student's interval of the mean, moved by it."""
    value = float(np.mean(scores)) - published
    if len(scores) < 2:
        return Interval(value)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(scores) - 1) * stats.sem(scores))
    return Interval(value, value - half, value + half)
