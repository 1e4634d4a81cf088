"""A board on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from noisybench.core.console import literal, printable
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.tables import TextTable, board_tables, claims_table, detection_table, notes

TEXT_COLUMNS = {"method", "cell", "protocol of the publication", "seen in", "information", "by"}


def print_board(standings: Standings, rule: str, console: Console) -> None:
    """Print every table of a board with its notes."""
    card = standings.card
    console.print(Text.assemble((printable(card.title), "bold"), "  ", printable(card.summary)))
    for table in board_tables(standings, rule):
        console.print(_rich(table))
    for further in (detection_table(standings), claims_table(standings, rule)):
        if further is not None:
            console.print(_rich(further))
    for line in notes(standings, rule):
        console.print(literal(line, "dim"))


def _rich(table: TextTable) -> Table:
    drawn = Table(title=literal(table.title, "table.title"), title_justify="left")
    for column in table.columns:
        drawn.add_column(literal(column), justify="left" if column in TEXT_COLUMNS else "right")
    for row in table.rows:
        drawn.add_row(*map(literal, row))
    return drawn
