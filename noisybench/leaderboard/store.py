"""A board's folder: ``runs/RUN_ID.json``, append-only, and the pages generated from it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from noisybench.core.errors import UserError
from noisybench.core.files import json_text, replace_file
from noisybench.leaderboard.validate import Filed, misfit, read_record
from noisybench.spec import registry
from noisybench.spec.cards import BenchmarkCard
from noisybench.spec.record import RunRecord

DEFAULT_ROOT = Path("leaderboards")


@dataclass(frozen=True)
class Board:
    """One board: its card and its folder."""

    card: BenchmarkCard
    folder: Path

    @property
    def runs(self) -> Path:
        """Where the records lie."""
        return self.folder / "runs"

    def records(self) -> list[RunRecord]:
        """All records, by run id.

        Raises:
            UserError: a record is wrong; a table of doubtful records is not drawn.
        """
        records, problems = self.read()
        if problems:
            more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
            raise UserError(f"{problems[0]}{more}; `noisybench leaderboard validate {self.folder}` lists all")
        return records

    def filed(self) -> Filed:
        """What the board holds, to ask whether a record may join."""
        filed = Filed(self.card)
        for known in self.records():
            filed.refusal(known)
        return filed

    def add(self, files: list[Path]) -> list[RunRecord]:
        """File the records of these runs: all of them, or none if one is refused.

        Args:
            files: records, or output folders of runs.

        Raises:
            UserError: a record is refused, with the reason.
        """
        sources = [record_file(path) for path in files]
        return self.add_records([(read_record(read_text(source), str(source)), str(source)) for source in sources])

    def add_records(self, records: list[tuple[RunRecord, str]]) -> list[RunRecord]:
        """File records that :func:`~noisybench.leaderboard.validate.read_record` has read, with where each is from."""
        filed = self.filed()
        for record, source in records:
            reason = filed.refusal(record)
            if reason is not None:
                raise UserError(f"{source}: refused by board {self.card.name!r}: {reason}")
        try:
            self.runs.mkdir(parents=True, exist_ok=True)
            for record, _ in records:
                write_new(self.runs / f"{record.run_id}.json", json_text(record.content()))
        except OSError as error:
            raise UserError(f"{self.runs}: cannot be written ({error.strerror})") from error
        return [record for record, _ in records]

    def read(self) -> tuple[list[RunRecord], list[str]]:
        """The records that are right, by run id, and one line for everything that is wrong with the others."""
        records, problems, filed = [], [], Filed(self.card)
        if not self.runs.is_dir():
            return records, problems
        for file in sorted(self.runs.iterdir()):
            if file.name.startswith(".") and file.suffix == ".tmp":  # another process is just filing
                continue
            try:
                if file.suffix != ".json":
                    raise UserError(f"{file}: no record; runs/ holds RUN_ID.json files only")
                record = read_record(read_text(file), str(file))
                reason = filed.refusal(record)
                if reason is None and file.name != f"{record.run_id}.json":
                    reason = f"the file should be named {record.run_id}.json"
                if reason is not None:
                    raise UserError(f"{file}: {reason}")
            except UserError as error:
                problems.append(str(error))
            else:
                records.append(record)
        return records, problems


def open_board(name: str, root: Path) -> Board:
    """The board of a card, given by name or as a TOML file.

    Raises:
        UserError: there is no such card.
    """
    if name.endswith(".toml"):
        file = Path(name)
        if not file.is_file():
            raise UserError(f"{file}: no such file; give a board's name or its card")
        card = registry.parse_card(file, BenchmarkCard)
        return Board(card, root / card.name)
    return Board(registry.benchmark_card(name), root / name)


def boards_in(folder: Path) -> list[Board]:
    """The boards below a folder, or the one board that the folder itself is.

    Raises:
        UserError: the folder holds none.
    """
    if (folder / "runs").is_dir():
        return [open_board(folder.resolve().name, folder.resolve().parent)]
    found = sorted(path.parent.name for path in folder.glob("*/runs") if path.is_dir())
    if not found:
        raise UserError(f"{folder}: no board there; a board is a folder with runs/ in it, named as its card")
    return [open_board(name, folder) for name in found]


def fitting_board(record: RunRecord, source: str, root: Path) -> Board:
    """The one board that a record fits.

    Raises:
        UserError: it fits none, or several.
    """
    cards = [registry.benchmark_card(name) for name in registry.card_names("benchmarks")]
    fitting = [card.name for card in cards if misfit(card, record) is None]
    if len(fitting) != 1:
        reasons = {card.name: misfit(card, record) for card in cards if record.config["dataset"] in card.datasets}
        detail = "; ".join(f"{name}: {reason}" for name, reason in reasons.items() if reason)
        what = f"fits {' and '.join(fitting)}" if fitting else f"fits no board ({detail or 'none has its dataset'})"
        raise UserError(f"{source}: {what}; choose with --board")
    return open_board(fitting[0], root)


def record_file(path: Path) -> Path:
    """The record of a run, given as its file or as the run's output folder."""
    return path / "result.json" if path.is_dir() else path


def read_text(file: Path) -> str:
    """A record's text.

    Raises:
        UserError: there is no such file, or it is not text.
    """
    try:
        return file.read_bytes().decode()
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file; give a result.json or the output folder of a finished run") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not readable as text ({error})") from error


def write_new(file: Path, text: str) -> None:
    """Write a file that must not exist yet: in one piece, and never over another process's."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def write_page(file: Path, text: str) -> bool:
    """Write a generated file; False if it had this text already."""
    content = text.encode()
    if file.is_file() and file.read_bytes() == content:
        return False
    with replace_file(file) as temporary:
        temporary.write_bytes(content)
    return True
