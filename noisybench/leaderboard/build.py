"""Writing a board's generated files."""

from __future__ import annotations

from pathlib import Path

from noisybench.core.errors import UserError
from noisybench.leaderboard.html import board_html
from noisybench.leaderboard.markdown import board_markdown
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.store import Board, write_page


def build(board: Board) -> dict[Path, bool]:
    """Write README.md and index.html from the records; whether each has changed.

    Raises:
        UserError: a record is wrong, or the folder cannot be written. Nothing is written then.
    """
    standings = Standings(board.card, board.records())
    pages = {"README.md": board_markdown(standings), "index.html": board_html(standings)}
    try:
        board.folder.mkdir(parents=True, exist_ok=True)
        return {board.folder / name: write_page(board.folder / name, text) for name, text in pages.items()}
    except OSError as error:
        raise UserError(f"{board.folder}: cannot be written ({error.strerror})") from error
