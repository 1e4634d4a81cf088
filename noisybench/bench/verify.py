"""Records of a board, run again and compared; each outcome is filed as soon as it is known."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from noisybench.bench.rerun import Files, run_again
from noisybench.core.errors import UserError, unknown_name
from noisybench.leaderboard.store import Board
from noisybench.leaderboard.verifications import TOLERANCE, compared, load_all, save
from noisybench.spec.record import RunRecord


@dataclass(frozen=True)
class Verified:
    """How a board's verification ended: how many came to what, over all that was asked for."""

    bit_equal: int
    within: int
    outside: int
    not_run: int


@dataclass(frozen=True)
class Runs:
    """Where records are run again.

    Attributes:
        output: the folder of the runs' folders.
        again: also those whose outcome is filed already, anew.
    """

    output: Path
    again: bool = False

    def folder(self, run_id: str) -> Path:
        """Where a run goes: on with what was begun there, or with ``again`` into a folder that is not there yet."""
        folder, number = self.output / run_id, 1
        while self.again and folder.exists():
            number += 1
            folder = self.output / f"{run_id}-{number}"
        return folder


def chosen(records: list[RunRecord], run_ids: list[str], sample: int | None) -> list[RunRecord]:
    """The records that are asked for: those named, or so many drawn by the hash of their run ids, or all.

    The draw is the same every time; a larger sample holds a smaller one, and a record that joins moves no other.

    Raises:
        UserError: a run is named that the board does not hold.
    """
    by_id = {record.run_id: record for record in records}
    for run_id in run_ids:
        if run_id not in by_id:
            raise unknown_name("run of the board", run_id, sorted(by_id))
    if run_ids:
        return [by_id[run_id] for run_id in dict.fromkeys(run_ids)]
    drawn = sorted(records, key=lambda record: hashlib.sha256(f"verify/{record.run_id}".encode()).hexdigest())
    return drawn[:sample]


def verify(
    board: Board,
    records: list[RunRecord],
    files: Files,
    runs: Runs,
    say: Callable[[str], None],
    *,
    tolerance: float = TOLERANCE,
) -> Verified:
    """Run records again and file what comes of each. What is filed already is left as it is.

    Args:
        runs: where they run, and which of them.
        say: told a line for each run.
    """
    known, problems = load_all(board.folder, records)
    for problem in problems:
        say(problem)
    outcomes: list[str] = []
    for number, record in enumerate(records, start=1):
        title = f"{number}/{len(records)} {record.config['method']} seed {record.config['seed']} ({record.run_id})"
        found = None if runs.again else known.get(record.run_id)
        if found is None:
            try:
                found = compared(record, run_again(record, files, runs.folder(record.run_id)), tolerance)
            except UserError as error:
                say(f"{title}: not run: {error}")
                outcomes.append("not run")
                continue
            save(board.folder, found)
            say(f"{title}: {found.line}")
        else:
            say(f"{title}: known: {found.line}")
        outcomes.append(found.outcome)
    return Verified(*(outcomes.count(name) for name in ("bit-equal", "within", "outside", "not run")))
