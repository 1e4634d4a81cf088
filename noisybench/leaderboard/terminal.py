"""A board on the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.tables import TextTable, board_tables, claims_table, notes

TEXT_COLUMNS = {"method", "cell", "protocol of the publication", "seen in"}


def print_board(standings: Standings, rule: str, console: Console) -> None:
    """Print every table of a board with its notes."""
    card = standings.card
    console.print(f"[bold]{escape(card.title)}[/bold]  {escape(card.summary)}", highlight=False)
    for table in board_tables(standings, rule):
        console.print(_rich(table))
    claims = claims_table(standings, rule)
    if claims is not None:
        console.print(_rich(claims))
    for line in notes(standings, rule):
        console.print(escape(line), highlight=False, style="dim")


def _rich(table: TextTable) -> Table:
    drawn = Table(title=escape(table.title), title_justify="left")
    for column in table.columns:
        drawn.add_column(escape(column), justify="left" if column in TEXT_COLUMNS else "right")
    for row in table.rows:
        drawn.add_row(*(escape(printable(cell)) for cell in row))
    return drawn


def printable(text: str) -> str:
    """Text without control characters, which could move a terminal's cursor."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)
