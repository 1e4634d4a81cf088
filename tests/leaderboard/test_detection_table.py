"""The table of how well wrong labels were found, and what says whose suspicion it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import make_record

from noisybench.leaderboard.markdown import board_markdown
from noisybench.leaderboard.side_by_side import metric_rows
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.store import open_board
from noisybench.leaderboard.tables import detection_table
from noisybench.spec import registry
from noisybench.spec.metrics import DETECTION

CARD = registry.benchmark_card("digits-quick")
BOARDS = Path(__file__).parents[2] / "leaderboards"


def scored(method: str, values: tuple[float, ...], seed: int = 0, **changes):
    """A record with these four values in its last epoch."""
    record = make_record(method, seed=seed, **changes)
    names = [metric.name for metric in DETECTION]
    blank = [None] * (record.config["epochs"] - 1)
    curves = record.curves | {name: [*blank, value] for name, value in zip(names, values, strict=True)}
    metrics = record.metrics | dict(zip(names, values, strict=True))
    return record.model_copy(update={"curves": curves, "metrics": metrics})


def test_rows_by_cell_and_by_average_precision():
    records = [
        scored("ce", (0.8, 0.5, 0.4, 0.3)),
        scored("ce", (0.9, 0.7, 0.6, 0.2), seed=1),
        scored("elr", (0.95, 0.9, 0.85, 0.1), estimates_labels=True),
        make_record("mslg", estimates_labels=True),  # from before: AUROC alone
    ]
    table = detection_table(Standings(CARD, records))
    assert table is not None
    group = "No clean labels · trained from scratch"
    assert table.rows == [
        ["digits · symmetric 40 %", "elr", group, "the method's label estimate"]
        + ["95.00 (1)", "90.00 (1)", "85.00 (1)", "10.00 (1)"],
        ["digits · symmetric 40 %", "ce", group, "the network's probabilities"]
        + ["85.00 ± 7.07 (2)", "60.00 ± 14.14 (2)", "50.00 ± 14.14 (2)", "25.00 ± 7.07 (2)"],
    ]
    page = board_markdown(Standings(CARD, records))
    assert "## Wrong labels found" in page and "1 − p of the given label" in page


def test_without_new_records_nothing_changes():
    standings = Standings(CARD, [make_record("ce"), make_record("mslg", estimates_labels=True)])
    assert detection_table(standings) is None and "Wrong labels found" not in board_markdown(standings)


def test_compare_says_by_what():
    rows = dict((row[0], row[1:]) for row in metric_rows([scored("ce", (0.8, 0.5, 0.4, 0.3)), make_record("elr")]))
    assert rows["wrong labels found by"] == ["the network's probabilities", "–"]
    assert rows["wrong labels found, average precision"] == ["50.00", "–"]


@pytest.mark.skipif(not BOARDS.is_dir(), reason="without the repository's boards")
def test_the_board_of_old_records_is_the_same():
    board = open_board("digits-quick", BOARDS)
    assert board_markdown(Standings(board.card, board.records())) == (board.folder / "README.md").read_text()
