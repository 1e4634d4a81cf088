"""Records as tables of text: what the terminal and Markdown show alike."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.perf.records import Record
from noisybench.leaderboard.tables import TextTable

UNITS: dict[str, Callable[[float], str]] = {
    "s": lambda value: f"{value * 1000:.4g} ms" if value < 1 else f"{value:.4g} s",
    "min": lambda value: f"{value:.4g} min",
    "bytes": lambda value: f"{value / 2**20:.1f} MiB",
    "samples/s": lambda value: f"{value:,.0f}/s",
    "share": lambda value: f"{100 * value:.0f} %",
}


def record_tables(records: list[Record]) -> list[TextTable]:
    """What was measured side by side: a row for each thing, columns for its quantities.

    Groups of one command that differ in their setup alone share a table, with columns for what differs.
    """
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        setup = tuple(sorted(record.setup.items()))
        groups.setdefault((record.part, record.hardware, setup), []).append(record)
    alike: dict[tuple, list[list[Record]]] = {}
    for (part, machine, _), group in groups.items():
        names, quantities = _names(group), _quantities(group)
        alike.setdefault((part, machine, tuple(names), tuple(quantities)), []).append(group)
    return [_table(same) for same in alike.values()]


def _names(group: list[Record]) -> list[str]:
    return list(dict.fromkeys(record.name for record in group))


def _quantities(group: list[Record]) -> list[str]:
    return list(dict.fromkeys(record.quantity for record in group))


def _table(groups: list[list[Record]]) -> TextTable:
    first = groups[0][0]
    everywhere = dict(sorted(first.setup.items()))
    differing = [name for name in everywhere if any(group[0].setup[name] != first.setup[name] for group in groups)]
    quantities = _quantities(groups[0])
    columns, over = [*differing, first.part], {}
    for quantity in quantities:
        of_quantity = [record for group in groups for record in group if record.quantity == quantity]
        over[quantity] = sorted({record.baseline for record in of_quantity if record.baseline is not None})
        columns.append(quantity)
        if over[quantity]:
            columns.append(f"× {over[quantity][0]}" if len(over[quantity]) == 1 else "ratio")
    rows = []
    for group in groups:
        found = {(record.name, record.quantity): record for record in group}
        for name in _names(group):
            row = [*(str(group[0].setup[each]) for each in differing), name]
            for quantity in quantities:
                cells = _cells(found.get((name, quantity)), named=len(over[quantity]) > 1)
                row += cells if over[quantity] else cells[:1]
            rows.append(row)
    setup = ", ".join(f"{name} {value}" for name, value in everywhere.items() if name not in differing)
    return TextTable(f"{first.part}: {setup}", columns, rows)


def _cells(record: Record | None, *, named: bool) -> list[str]:
    """Median with quartiles, and the ratio; ``named``: with what it is over."""
    if record is None:
        return ["", ""]
    text = UNITS[record.unit](record.median)
    if len(record.values) > 1:
        lower, upper = (UNITS[record.unit](value) for value in record.quartiles)
        text += f" ({lower} – {upper})"
    if record.ratio is None:
        return [text, ""]
    return [text, f"{record.ratio:.3f} × {record.baseline}" if named else f"{record.ratio:.3f}"]


def hardware_line(record: Record) -> str:
    """What a record was measured on, as one line."""
    machine = record.hardware
    on = f"{machine.gpu}; " if machine.gpu else ""
    memory = "kept" if machine.keeps_freed_memory else "left to the C library"
    return (
        f"{on}{machine.cpu}, cores: {machine.cores}, threads: {machine.threads}; torch {machine.torch}; "
        f"{machine.date}; load {machine.load:g}; freed memory {memory}"
    )
