"""Records on the terminal, and as Markdown."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.perf.records import Record, read_records
from benchmarks.perf.tables import hardware_line, record_tables
from noisybench.leaderboard.markdown import markdown_table, plain


def print_records(records: list[Record], console: Console) -> None:
    """Print tables, and what they were measured on."""
    for table in record_tables(records):
        drawn = Table(title=escape(table.title), title_justify="left", box=box.SIMPLE)
        for column in table.columns:
            drawn.add_column(escape(column), justify="left" if column == table.columns[0] else "right")
        for row in table.rows:
            drawn.add_row(*map(escape, row))
        console.print(drawn)
    for line in dict.fromkeys(map(hardware_line, records)):
        console.print(escape(line), highlight=False, soft_wrap=True)


def report(files: list[Path]) -> str:
    """The records of files as Markdown tables, each under what it was measured on.

    Raises:
        UserError: a file cannot be read or holds something else.
    """
    records = [record for file in files for record in read_records(file)]
    parts = []
    for line in dict.fromkeys(map(hardware_line, records)):
        parts.append(plain(line))
        for table in record_tables([record for record in records if hardware_line(record) == line]):
            parts += [f"**{plain(table.title)}**", markdown_table(table)]
    return "\n\n".join(parts)
