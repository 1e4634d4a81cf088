"""Writing a board's generated files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from noisybench.core.errors import UserError, one_line
from noisybench.leaderboard.html import board_html
from noisybench.leaderboard.markdown import board_markdown
from noisybench.leaderboard.store import Board, refuse_foreign, write_page


@dataclass(frozen=True)
class Built:
    """What building a board came to.

    Attributes:
        pages: whether each page has changed.
        problems: one line for each record that is left out.
    """

    pages: dict[Path, bool]
    problems: list[str]


def build(board: Board, *, force: bool = False) -> Built:
    """Write README.md and index.html from the records that are right.

    Args:
        force: also over files of these names that were not generated.

    Raises:
        UserError: the folder cannot be written, or holds such files. Nothing is written then.
    """
    with board.alone():
        standings, problems = board.standings()
        texts = {"README.md": board_markdown(standings), "index.html": board_html(standings)}
        if not force:
            for name in texts:
                refuse_foreign(board.folder / name)
        try:
            pages = {board.folder / name: write_page(board.folder / name, text) for name, text in texts.items()}
        except OSError as error:
            raise UserError(f"{board.folder}: cannot be written ({one_line(error)})") from error
    return Built(pages, problems)
