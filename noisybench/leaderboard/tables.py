"""The tables of a board as text cells: what the terminal and Markdown show alike.

Fractions are written as per cent, a missing value as a dash.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from noisybench.core.nested import merge
from noisybench.leaderboard import statistics
from noisybench.leaderboard.cells import required
from noisybench.leaderboard.standings import Row, Scope, Standings
from noisybench.leaderboard.statistics import Interval
from noisybench.leaderboard.verifications import summary
from noisybench.spec.cards import BenchmarkCard
from noisybench.spec.frozen import TABLE
from noisybench.spec.metrics import BY_ESTIMATE, BY_NETWORK, DETECTION, RULES, detected_by_network
from noisybench.spec.record import RunRecord


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


def detection_table(standings: Standings) -> TextTable | None:
    """How well wrong labels were found, cell by cell, by average precision; None if no run was scored so.

    Records from before these metrics existed have at most AUROC, and are left out.
    """
    lines = []
    for cell in standings.covered:
        found = []
        for row in standings.rows:
            records = [record for record in row.runs.get(cell, []) if _detected(record)]
            if records:
                means = [float(np.mean([record.metrics[metric.name] for record in records])) for metric in DETECTION]
                found.append((means, row, records))
        for means, row, records in sorted(found, key=lambda entry: -entry[0][1]):
            scores = [np.array([record.metrics[metric.name] for record in records]) for metric in DETECTION]
            cells = [
                mean_and_spread(mean, statistics.spread(of), len(of)) for mean, of in zip(means, scores, strict=True)
            ]
            lines.append([cell.label, row.method, row.group, detected_by(records), *cells])
    columns = ["cell", "method", "information", "by", *(metric.title for metric in DETECTION)]
    return TextTable("Wrong labels found", columns, lines) if lines else None


def _detected(record: RunRecord) -> bool:
    return all(record.metrics.get(metric.name) is not None for metric in DETECTION)


def detected_by(records: list[RunRecord]) -> str:
    """What suspicion was taken from in these runs."""
    found = {BY_NETWORK if detected_by_network(record.curves) else BY_ESTIMATE for record in records}
    return " or ".join(sorted(found))


DETECTION_NOTE = (
    "Wrong labels found: by the method's own suspicion after the last epoch, or, where it estimates no labels, by the "
    "probabilities of its headline network on the training images (1 − p of the given label). F1: as many labels are "
    "flagged as are wrong. Missed at the noise rate: of the wrong labels, those not flagged when the share of labels "
    "that is expected to be wrong (known before the run) is flagged. Labels that tie there count by their share."
)


def board_facts(card: BenchmarkCard) -> list[str]:
    """What a card says of its runs beyond protocol, ruleset and track: frozen features, and which images."""
    facts = []
    settings = merge(TABLE, required(card))
    if settings.get("frozen"):
        side = settings.get("features", {}).get("input_size")
        size = "" if side is None else f" at {side}×{side} pixels"
        facts.append(
            f"Frozen runs: every method trains a head ({settings.get('head', 'linear')}) on fixed features of "
            f"{settings['model']}{', pretrained,' if settings['pretrained'] else ''}{size}."
        )
    prints = "; ".join(f"{name} {value[:16]}…" for name, value in card.dataset_fingerprints.items())
    if card.images or prints:
        facts.append(" ".join(filter(None, [card.images, f"Dataset fingerprint: {prints}." if prints else ""])))
    return facts


def notes(standings: Standings, rule: str) -> list[str]:
    """What a reader must know to read the tables."""
    card = standings.card
    lines = [
        f"Test accuracy in per cent, selection rule: {RULES[rule].label}. Protocol {card.protocol}, ruleset "
        f"{card.ruleset}, track {card.track}.",
        *board_facts(card),
        "Cells: mean ± standard deviation (runs). Brackets: 95 % intervals; of means by stratified bootstrap, of "
        f"paired differences (same seed, noise and split as {card.baseline}) by Student's t.",
        "Rank: one plus the number of methods with equal information whose paired difference lies above 0 with its "
        "whole interval; methods that cannot be told apart tie.",
    ]
    covered = f"Mean over cells: over the {len(standings.covered)} of {len(standings.cells)} cells that have runs"
    if standings.empty:
        covered += "; without runs: " + ", ".join(cell.label for cell in standings.empty)
    lines.append(covered + ".")
    verified = summary(standings.verifications, len(standings.records))
    if verified is not None:
        lines.append(verified)
    if detection_table(standings) is not None:
        lines.append(DETECTION_NOTE)
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
