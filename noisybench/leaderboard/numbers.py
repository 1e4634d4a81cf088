"""How numbers are written in tables: fractions as per cent, a missing value as a dash."""

from __future__ import annotations

from noisybench.leaderboard.statistics import Interval

MISSING = "–"


def percent(value: float | None) -> str:
    """``0.9234`` as ``92.34``."""
    return MISSING if value is None else f"{100 * value:.2f}"


def mean_and_spread(mean: float, spread: float | None, runs: int) -> str:
    """``92.34 ± 0.51 (3)``: mean, standard deviation, number of runs."""
    deviation = "" if spread is None else f" ± {100 * spread:.2f}"
    return f"{100 * mean:.2f}{deviation} ({runs})"


def with_interval(interval: Interval | None, *, signed: bool = False) -> str:
    """``+1.20 [0.80, 1.60]``."""
    if interval is None:
        return MISSING
    sign = "+" if signed else ""
    value = f"{100 * interval.value:{sign}.2f}"
    if interval.low is None:
        return value
    return f"{value} [{100 * interval.low:{sign}.2f}, {100 * interval.high:{sign}.2f}]"
