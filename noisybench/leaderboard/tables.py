"""The tables of a board as text cells: what the terminal and Markdown show alike.

Fractions are written as per cent, a missing value as a dash.
"""

from __future__ import annotations

from dataclasses import dataclass

from noisybench.leaderboard.standings import Row, Scope, Standings
from noisybench.leaderboard.statistics import Interval
from noisybench.spec.metrics import RULES


@dataclass(frozen=True)
class TextTable:
    """Rows of equal information."""

    title: str
    columns: list[str]
    rows: list[list[str]]


def board_tables(standings: Standings, rule: str) -> list[TextTable]:
    """One table for each class of information, best first; a row that misses a cell has no rank and no mean."""
    overall = standings.scope(standings.covered, rule)
    single = [standings.scope([cell], rule) for cell in standings.covered]
    columns = ["rank", "method", "mean over cells", "interquartile mean", f"paired with {standings.card.baseline}"]
    columns += [f"P(better than {standings.card.baseline})", *(cell.label for cell in standings.covered)]
    groups: dict[str, list[int]] = {}
    for number, row in enumerate(standings.rows):
        groups.setdefault(row.group, []).append(number)
    return [
        TextTable(
            group,
            columns,
            [
                _line(standings.rows[n], overall, n) + [_cell(scope, n) for scope in single]
                for n in sorted(numbers, key=lambda n: _place(overall, n))
            ],
        )
        for group, numbers in groups.items()
    ]


def _place(overall: Scope, number: int) -> tuple:
    score = overall.scores.get(number)
    return (1, 0.0, number) if score is None else (0, -score.mean.value, number)


def _line(row: Row, overall: Scope, number: int) -> list[str]:
    score = overall.scores.get(number)
    if score is None:
        return [MISSING, row.method, "cells missing", MISSING, MISSING, MISSING]
    return [
        str(score.rank),
        row.method,
        with_interval(score.mean),
        with_interval(score.iqm),
        with_interval(score.difference, signed=True),
        MISSING if score.improvement is None else f"{score.improvement:.2f}",
    ]


def _cell(scope: Scope, number: int) -> str:
    score = scope.scores.get(number)
    return "missing" if score is None else mean_and_spread(score.mean.value, score.spread, score.runs)


def claims_table(standings: Standings, rule: str) -> TextTable | None:
    """Published numbers beside this board's; None if there are none."""
    rows = []
    for row in standings.rows:
        for cell in row.runs:
            claim = standings.claim(row, cell)
            if claim is None:
                continue
            difference = standings.claim_difference(row, cell, rule)
            numbers = [percent(claim.accuracy), with_interval(difference, signed=True)]
            rows.append([row.method, cell.label, *numbers, claim.protocol, claim.source])
    columns = ["method", "cell", "published", "difference", "protocol of the publication", "seen in"]
    return TextTable("Published numbers", columns, rows) if rows else None


def notes(standings: Standings, rule: str) -> list[str]:
    """What a reader must know to read the tables."""
    card = standings.card
    lines = [
        f"Test accuracy in per cent, selection rule: {RULES[rule].label}. Protocol {card.protocol}, ruleset "
        f"{card.ruleset}, track {card.track}.",
        "Cells: mean ± standard deviation (runs). Brackets: 95 % intervals; of means by stratified bootstrap, of "
        f"paired differences (same seed, noise and split as {card.baseline}) by Student's t.",
        "Rank: one plus the number of methods with equal information whose paired difference lies above 0 with its "
        "whole interval; methods that cannot be told apart tie.",
    ]
    covered = f"Mean over cells: over the {len(standings.covered)} of {len(standings.cells)} cells that have runs"
    if standings.empty:
        covered += "; without runs: " + ", ".join(cell.label for cell in standings.empty)
    lines.append(covered + ".")
    return lines


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
    if interval.low is None or interval.high is None:
        return value
    return f"{value} [{100 * interval.low:{sign}.2f}, {100 * interval.high:{sign}.2f}]"
