"""What index.html is drawn from: the standings and the runs as JSON, small enough for thousands of runs."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisybench.core.errors import UserError
from noisybench.core.nested import flatten
from noisybench.leaderboard.cells import Cell
from noisybench.leaderboard.standings import Row, Scope, Standings
from noisybench.leaderboard.statistics import Interval
from noisybench.leaderboard.tables import board_facts
from noisybench.leaderboard.verifications import summary
from noisybench.spec import registry
from noisybench.spec.identity import ENVIRONMENT_FIELDS, with_later_fields
from noisybench.spec.metrics import (
    GAPS,
    LABELS_ESTIMATED,
    LABELS_GIVEN,
    MEMORISED,
    METRICS,
    ON_TEST,
    RULES,
    Metric,
    with_later_rules,
)
from noisybench.spec.record import RunRecord

CURVE_UNIT = 10_000  # curves are whole numbers of 1/10,000: a hundredth of a per cent, finer than a pixel
POINTS = 200  # of one curve in the page; the records keep every epoch
POINTS_OF_ALL = 200_000  # a page of very many runs thins its curves, so that it stays some megabytes


def page_data(standings: Standings) -> dict[str, Any]:
    """Everything the page shows, as JSON values."""
    card = standings.card
    verified = summary(standings.verifications, len(standings.records))
    scopes = [standings.covered, *([cell] for cell in standings.covered)]
    return {
        "board": {
            "name": card.name,
            "title": card.title,
            "summary": card.summary,
            "protocol": card.protocol,
            "ruleset": card.ruleset,
            "track": card.track,
            "headline": card.headline,
            "baseline": card.baseline,
            "notes": [*board_facts(card), *filter(None, [verified])],
        },
        "rules": [{"id": name, "label": rule.label, "note": rule.note} for name, rule in RULES.items()],
        "metrics": [_metric(metric) for metric in METRICS.values() if _shown(metric, standings)],
        "plots": _plots(),
        "cells": [_cell(standings, cell) for cell in standings.covered],
        "empty": [cell.label for cell in standings.empty],
        "rows": [_row(standings, row) for row in standings.rows],
        "scopes": {rule: [_scope(standings, cells, rule) for cells in scopes] for rule in RULES},
        **_runs(standings),
    }


def _shown(metric: Metric, standings: Standings) -> bool:
    """Metrics with a place of their own, and of the others those that any run has."""
    any_has = metric.final and any(metric.name in record.metrics for record in standings.records)
    return bool(metric.drawn or metric.column or any_has)


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "id": metric.name,
        "title": metric.title,
        "fraction": metric.fraction,
        "final": metric.final,
        "drawn": metric.drawn,
        "column": metric.column,
    }


def _plots() -> dict[str, Any]:
    """Which curves the plots are of: accuracy beside one of several panels, and the labels."""
    drawn = [metric for metric in METRICS.values() if metric.drawn and metric.name != ON_TEST.name]
    panels = [{"title": metric.title, "fraction": metric.fraction, "of": metric.name} for metric in drawn]
    panels += [{"title": gap.title, "fraction": True, "of": gap.of.name, "minus": gap.minus.name} for gap in GAPS]
    return {
        "accuracy": {"title": ON_TEST.title, "of": ON_TEST.name},
        "panels": panels,
        "first": [panel["of"] for panel in panels].index(MEMORISED.name),
        "labels": {"line": LABELS_ESTIMATED.name, "dashed": LABELS_GIVEN.name},
    }


def _curves_needed() -> set[str]:
    of_plots = {LABELS_GIVEN.name, LABELS_ESTIMATED.name}
    of_gaps = {metric.name for gap in GAPS for metric in (gap.of, gap.minus)}
    return of_plots | of_gaps | {name for name, metric in METRICS.items() if metric.drawn}


def _cell(standings: Standings, cell: Cell) -> dict[str, Any]:
    achieved = [record.noise["achieved_rate"] for row in standings.rows for record in row.runs.get(cell, [])]
    known = [rate for rate in achieved if rate is not None]
    return {
        "label": cell.label,
        "dataset": cell.dataset,
        "noise": cell.noise,
        "rate": cell.noise_rate,
        "achieved": round(float(np.mean(known)), 5) if known else None,
    }


def _row(standings: Standings, row: Row) -> dict[str, Any]:
    costs = [record.cost for record in row.all_runs]
    return {
        "method": row.method,
        "title": _title(row.method),
        "group": row.group,
        "clean": row.used.clean_labels,
        "seconds": round(float(np.mean([cost.train_seconds for cost in costs])), 2),
        "forwards": costs[0].forward_equivalents_per_step,
        "megabytes": round(max(cost.peak_memory_bytes for cost in costs) / 1e6),
        "devices": sorted({cost.device for cost in costs}),
        "claims": [
            None if claim is None else {"accuracy": claim.accuracy, "protocol": claim.protocol, "source": claim.source}
            for claim in (standings.claim(row, cell) for cell in standings.covered)
        ],
    }


def _title(method: str) -> str:
    try:
        return registry.method_card(method.partition("[")[0]).title
    except UserError:  # a record of a method that is not installed here
        return method


def _scope(standings: Standings, cells: list[Cell], rule: str) -> dict[str, Any]:
    scope: Scope = standings.scope(cells, rule)
    rows: list[dict | None] = []
    for number, row in enumerate(standings.rows):
        score = scope.scores.get(number)
        if score is None:
            rows.append(None)
            continue
        claim = standings.claim_difference(row, cells[0], rule) if len(cells) == 1 else None
        rows.append(
            {
                "mean": _interval(score.mean),
                "sd": _rounded(score.spread),
                "n": score.runs,
                "iqm": _interval(score.iqm),
                "diff": _interval(score.difference),
                "pairs": score.pairs,
                "better": _rounded(score.improvement),
                "rank": score.rank,
                "meanRank": round(scope.mean_ranks[number], 3),
                "claim": _interval(claim),
            }
        )
    return {"rows": rows, "ties": scope.ties}


def _interval(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [_rounded(v) for v in (interval.value, interval.low, interval.high)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _runs(standings: Standings) -> dict[str, Any]:
    """Runs in the order of rows and cells; what many runs share (hashes, settings, epochs) is stored once."""
    hashes: dict[str, int] = {}
    bases: list[dict[str, Any]] = []
    grids: dict[str, list[int]] = {}
    runs = []
    points = max(20, min(POINTS, POINTS_OF_ALL // max(1, len(standings.records))))
    places = {cell: number for number, cell in enumerate(standings.covered)}
    for number, row in enumerate(standings.rows):
        base = _science(row.all_runs[0])
        bases.append(base)
        for cell, records in row.runs.items():
            for record in records:
                grid = _grid(record.config["epochs"], points)
                grids.setdefault(str(record.config["epochs"]), grid)
                run = _run(record, number, places[cell], base, grid, hashes)
                verification = standings.verifications.get(record.run_id)
                runs.append(run if verification is None else run | {"verified": verification.line})
    return {"runs": runs, "hashes": list(hashes), "bases": bases, "grids": grids, "unit": CURVE_UNIT}


def _run(record: RunRecord, row: int, cell: int, base: dict, grid: list[int], hashes: dict[str, int]) -> dict[str, Any]:
    prints = record.fingerprints.model_dump()
    config = _science(record)
    changed = [name for name in sorted(config.keys() | base.keys()) if config.get(name) != base.get(name)]
    metrics = with_later_rules(record.metrics, record.curves)
    curves = {}
    for name in sorted(_curves_needed()):
        if name in record.curves:
            values = [record.curves[name][epoch] for epoch in grid]
            curves[name] = [None if value is None else round(value * CURVE_UNIT) for value in values]
    return {
        "id": record.run_id,
        "row": row,
        "cell": cell,
        "seed": record.config["seed"],
        "epochs": record.config["epochs"],
        "metrics": {name: _rounded(value) for name, value in metrics.items()},
        "prints": {name: hashes.setdefault(value, len(hashes)) for name, value in prints.items()},
        "config": {name: config.get(name) for name in changed},
        "curves": curves,
        "achieved": _rounded(record.noise["achieved_rate_train_set"]),
        "seconds": round(record.cost.train_seconds, 2),
        "speed": round(record.cost.samples_per_second),
        "megabytes": round(record.cost.peak_memory_bytes / 1e6),
        "device": record.cost.device,
        "commit": record.git_commit,
    }


def _science(record: RunRecord) -> dict[str, Any]:
    """A run's settings without where its files lay: a published page tells nobody's folders."""
    config = with_later_fields(record.config)
    return flatten({name: value for name, value in config.items() if name not in ENVIRONMENT_FIELDS})


def _grid(epochs: int, points: int) -> list[int]:
    """Epochs that a curve is drawn at: all, or so many evenly spaced ones with the first and the last."""
    return sorted({round(float(epoch)) for epoch in np.linspace(0, epochs - 1, min(points, epochs))})
