"""Runs side by side: what differs in their configurations and data, their metrics, and what may be paired."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from noisybench.core.console import console, literal, say
from noisybench.core.errors import UserError
from noisybench.core.files import canonical_json
from noisybench.core.nested import flatten
from noisybench.leaderboard.standings import condition
from noisybench.leaderboard.statistics import paired_differences
from noisybench.leaderboard.store import record_file
from noisybench.leaderboard.stored_config import config_fault
from noisybench.leaderboard.tables import MISSING, detected_by, percent, with_interval
from noisybench.leaderboard.validate import noise_fault
from noisybench.spec.identity import ENVIRONMENT_FIELDS, with_later_fields
from noisybench.spec.metrics import DETECTION, LAST, in_figures, last_validation, titles
from noisybench.spec.record import RunRecord

FINGERPRINTS = {
    "dataset": "same images",
    "noise": "same noise",
    "split": "same split",
    "weights": "same final weights",
    "state": "same final state beside the weights",
}


def print_comparison(paths: list[Path], out: Console | None = None) -> None:
    """Print two or more runs side by side.

    Args:
        paths: records, or output folders of runs.

    Raises:
        UserError: fewer than two are given, or one is no record.
    """
    if len(paths) < 2:
        raise UserError("compare needs two runs or more")
    records = [_load(record_file(path)) for path in paths]
    out = out or console()
    names = [f"{chr(ord('A') + n % 26)}{n // 26 or ''}" for n in range(len(records))]
    for name, path, record in zip(names, paths, records, strict=True):
        failed = f", failed: {record.error}" if record.status == "failed" else ""
        say(f"{name}: {path}  run {record.run_id}{failed}", out)
    out.print(_table("configuration (what differs)", names, differing_settings(records)))
    out.print(_table("data and weights", names, fingerprint_rows(records)))
    out.print(_table("metrics, %", names, metric_rows(records)))
    for line in paired_lines(records, names):
        say(line, out)


def _load(file: Path) -> RunRecord:
    """A record of any run, also of one that failed, as far as it can be put beside others.

    Raises:
        UserError: it is no such record.
    """
    record = RunRecord.load(file)
    fault = config_fault(record.config) or noise_fault(record)
    if fault is not None:
        raise UserError(f"{file}: {fault}")
    return record


def differing_settings(records: list[RunRecord]) -> list[list[str]]:
    """One line for each setting that is not the same in all runs; where results were put does not count."""
    flat = [flatten(_settings(record, ENVIRONMENT_FIELDS)) for record in records]
    rows = []
    for name in sorted(set().union(*flat)):
        values = [canonical_json(config[name]) if name in config else MISSING for config in flat]
        if len(set(values)) > 1:
            rows.append([name, *(value.strip('"') for value in values)])
    return rows


def fingerprint_rows(records: list[RunRecord]) -> list[list[str]]:
    """For each fingerprint: whether all runs share it, and its first digits in every run."""
    rows = []
    for name, question in FINGERPRINTS.items():
        values = [getattr(record.fingerprints, name) for record in records]
        answer = "yes" if len(set(values)) == 1 else "no"
        if name == "state" and None in values:
            answer = "not recorded in all"
        rows.append([f"{question}? {answer}", *((value or MISSING)[:12] for value in values)])
    rates = [percent(record.noise.get("achieved_rate_train_set")) for record in records]
    return [*rows, ["noise rate in the train set, %", *rates]]


def metric_rows(records: list[RunRecord]) -> list[list[str]]:
    """Every metric that any run has."""
    known = titles()
    others = set().union(*(record.metrics for record in records)) - known.keys()
    validation = [last_validation(record.curves) for record in records]
    rows = []
    for title in dict.fromkeys(title for found in validation for title in found):
        rows.append([title, *(percent(found.get(title)) for found in validation)])
    for name, title in (known | {name: name for name in sorted(others)}).items():
        if any(name in record.metrics for record in records):
            values = (record.metrics.get(name) for record in records)
            rows.append([title, *(MISSING if value is None else in_figures(name, value) for value in values)])
    if any(metric.name in record.metrics for metric in DETECTION for record in records):
        by = [detected_by([record]) if _detects(record) else MISSING for record in records]
        rows.append(["wrong labels found by", *by])
    return [*rows, ["training time, s", *(f"{record.cost.train_seconds:.1f}" for record in records)]]


def _detects(record: RunRecord) -> bool:
    return any(record.metrics.get(metric.name) is not None for metric in DETECTION)


def paired_lines(records: list[RunRecord], names: list[str]) -> list[str]:
    """Paired differences in test accuracy, last epoch, of every kind of run to the first kind.

    Runs are of one kind if nothing but the seed differs. Pairs share the seed, the images, the noise and the split.
    """
    kinds: dict[str, list[int]] = {}
    for number, record in enumerate(records):
        kinds.setdefault(_kind(record), []).append(number)
    first, *others = kinds.values()
    if not others:
        return ["Not paired: the runs differ in nothing but the seed."]
    columns: dict[tuple, int] = {}
    for record in records:
        columns.setdefault(condition(record), len(columns))
    lines = []
    for other in others:
        scores = np.full((2, len(columns)), np.nan)
        for row, numbers in enumerate((other, first)):
            for number in numbers:
                value = records[number].metrics.get(LAST.metric)
                if value is not None:
                    scores[row, columns[condition(records[number])]] = value
        found = paired_differences([scores])
        title = f"{_joined(names, other)} − {_joined(names, first)}"
        difference = found.of(0, 1)
        if difference is None:
            lines.append(f"{title}: not paired, no two runs share seed, images, noise and split.")
            continue
        pairs = int(found.pairs[0, 1])
        note = "" if pairs > 1 else ", too few for an interval"
        lines.append(
            f"{title}: paired difference {with_interval(difference, signed=True)} points of "
            f"{LAST.title} ({pairs} pair{'s' if pairs > 1 else ''}{note})"
        )
    return lines


def _kind(record: RunRecord) -> str:
    return canonical_json(_settings(record, ENVIRONMENT_FIELDS | {"seed"}))


def _settings(record: RunRecord, left_out: set[str]) -> dict[str, Any]:
    return {name: value for name, value in with_later_fields(record.config).items() if name not in left_out}


def _joined(names: list[str], numbers: Iterable[int]) -> str:
    return "+".join(names[number] for number in numbers)


def _table(title: str, names: list[str], rows: list[list[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for name in names:
        table.add_column(name, justify="right")
    for row in rows or [["nothing", *([""] * len(names))]]:
        table.add_row(*map(literal, row))
    return table
