"""Records as tables of text: what the terminal and Markdown show alike."""

from __future__ import annotations

from collections.abc import Callable

from noisybench.leaderboard.tables import TextTable
from noisybench.perf.records import Record

UNITS: dict[str, Callable[[float], str]] = {
    "s": lambda value: f"{value * 1000:.4g} ms" if value < 1 else f"{value:.4g} s",
    "bytes": lambda value: f"{value / 2**20:.1f} MiB",
    "samples/s": lambda value: f"{value:,.0f}/s",
}


def record_tables(records: list[Record]) -> list[TextTable]:
    """One table for all that was measured side by side: a row for each thing, columns for its quantities."""
    groups: dict[tuple, list[Record]] = {}
    for record in records:
        groups.setdefault((record.part, record.hardware, tuple(record.setup.items())), []).append(record)
    return [_table(group) for group in groups.values()]


def _table(group: list[Record]) -> TextTable:
    quantities = list(dict.fromkeys(record.quantity for record in group))
    found = {(record.name, record.quantity): record for record in group}
    over = {
        quantity: sorted({r.baseline for r in group if r.quantity == quantity and r.baseline})
        for quantity in quantities
    }
    columns = [group[0].part]
    for quantity in quantities:
        columns += [quantity, f"× {over[quantity][0]}" if len(over[quantity]) == 1 else "ratio"]
    rows = []
    for name in dict.fromkeys(record.name for record in group):
        row = [name]
        for quantity in quantities:
            row += _cells(found.get((name, quantity)), named=len(over[quantity]) > 1)
        rows.append(row)
    return TextTable(_title(group[0]), columns, rows)


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


def _title(record: Record) -> str:
    setup = ", ".join(f"{name} {value}" for name, value in record.setup.items())
    return f"{record.part}: {setup}"


def hardware_line(record: Record) -> str:
    """What a record was measured on, as one line."""
    machine = record.hardware
    on = f"{machine.gpu}; " if machine.gpu else ""
    return (
        f"{on}{machine.cpu}, {machine.cores} cores, {machine.threads} threads; torch {machine.torch}; {machine.date}; "
        f"load {machine.load:g}"
    )
