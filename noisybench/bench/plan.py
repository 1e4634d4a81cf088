"""The runs of a suite: which they are, where they lie, and how far each is."""

from __future__ import annotations

import enum
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisybench.bench import leases
from noisybench.core.batches import num_batches, smallest_batch
from noisybench.core.errors import UserError, unknown_name
from noisybench.core.files import write_json
from noisybench.core.nested import merge
from noisybench.leaderboard.cells import cell_of, expand, row_name
from noisybench.leaderboard.store import Board, record_file
from noisybench.spec import registry
from noisybench.spec.cards import BenchmarkCard
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.layers import resolve_dict
from noisybench.spec.record import RunRecord


class State(enum.StrEnum):
    """How far a run is."""

    DONE = "done"
    LEASED = "leased"  # a live worker has it
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    TO_DO = "to do"


@dataclass(frozen=True)
class Status:
    """How far a run is, with what there is to say about it: the holder, the error, the epochs done."""

    state: State
    detail: str = ""
    record: RunRecord | None = None


@dataclass(frozen=True)
class PlannedRun:
    """One run of a suite."""

    config: ResolvedConfig
    run_id: str
    label: str


@dataclass(frozen=True)
class Suite:
    """Runs, the folder they lie in (``OUTPUT/RUN_ID``), and the board they are filed under, if any.

    ``OUTPUT/.suite`` holds what workers tell each other: leases, and why a run failed.
    """

    runs: list[PlannedRun]
    output: Path
    board: Board | None

    @property
    def lease_folder(self) -> Path:
        """The folder of the lease files."""
        return self.output / ".suite"

    def folder(self, run: PlannedRun) -> Path:
        """Where a run lies."""
        return self.output / run.run_id

    def _failure(self, run: PlannedRun) -> Path:
        return self.output / ".suite" / f"{run.run_id}.failed.json"

    def status(self, run: PlannedRun, *, mine: bool = False) -> Status:
        """How far a run is now.

        Args:
            mine: this process holds its lease.
        """
        record, damage = None, None
        result = record_file(self.folder(run)) if self.folder(run).is_dir() else None
        if result is not None and result.is_file():
            try:
                record = RunRecord.load(result)
            except UserError as error:
                damage = str(error)
        if record is not None and record.status == "completed" and record.run_id == run.run_id:
            return Status(State.DONE, record=record)
        holder = None if mine else leases.holder(self.lease_folder, run.run_id)
        if holder is not None:
            return Status(State.LEASED, holder)
        if self._failure(run).is_file():
            return Status(State.FAILED, _error_in(self._failure(run)))
        if damage is not None:
            return Status(State.FAILED, damage)
        if record is not None:
            return Status(State.FAILED, record.error or f"its folder holds run {record.run_id}")
        if (self.folder(run) / "config.json").is_file():
            return Status(State.INTERRUPTED, f"{self.epochs_done(run)} of {run.config.epochs} epochs done")
        return Status(State.TO_DO)

    def epochs_done(self, run: PlannedRun) -> int:
        """Finished epochs of an unfinished run."""
        metrics = self.folder(run) / "metrics.jsonl"
        return len(metrics.read_text(encoding="utf-8").splitlines()) if metrics.is_file() else 0

    def filed(self, run: PlannedRun) -> bool:
        """Whether the board has the run's record, or none is wanted."""
        return self.board is None or (self.board.runs / f"{run.run_id}.json").is_file()

    def mark_failed(self, run: PlannedRun, error: str) -> None:
        """Note that a run failed, so that no worker tries it again unasked.

        Raises:
            UserError: the note cannot be written.
        """
        try:
            self.lease_folder.mkdir(parents=True, exist_ok=True)
            write_json(self._failure(run), {"error": error})
        except OSError as reason:
            raise UserError(f"{self._failure(run)}: cannot be written ({reason.strerror}); {error}") from reason

    def forget_failure(self, run: PlannedRun) -> None:
        """Let a failed run be tried again. Its record of the failure is kept as ``result.failed.json``."""
        self._failure(run).unlink(missing_ok=True)
        result = record_file(self.folder(run)) if self.folder(run).is_dir() else None
        if result is not None and result.is_file():
            result.replace(result.with_name("result.failed.json"))


def last_line(text: str) -> str:
    """Of a traceback what was raised; of one line the line."""
    return text.strip().rpartition("\n")[2]


def _error_in(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["error"])
    except (OSError, ValueError, KeyError) as error:
        return f"{file}: unreadable ({error})"


@dataclass(frozen=True)
class Selection:
    """Which of a card's runs.

    Attributes:
        seeds: how many, counted from 0; None for the card's.
        methods: whose runs, by name; None for the card's.
        shard: (i, n), part i of n, counted from 1.
    """

    seeds: int | None = None
    methods: list[str] | None = None
    shard: tuple[int, int] = (1, 1)


def plan(
    card: BenchmarkCard,
    output: Path,
    board: Board | None,
    selection: Selection = Selection(),
    *,
    environment: dict[str, Any] | None = None,
    noise_files: dict[str, Path] | None = None,
) -> Suite:
    """The runs of a board's card, or a selection of them, in the card's order.

    Args:
        output: the folder of the runs' folders.
        board: where finished runs are filed; None to file none.
        selection: which runs.
        environment: configuration that is no part of the run id, for every run; what is None is left out.
        noise_files: the file that a noise model reads, by the model's name.

    Raises:
        UserError: a configuration is wrong; nothing runs then.
    """
    files = noise_files or {}
    for kind in files:
        if kind not in card.noises:
            raise unknown_name(f"noise of board {card.name!r}", kind, card.noises)
    runs = []
    for expanded in expand(card, seeds=selection.seeds, methods=selection.methods):
        given = {**(environment or {}), "noise_file": files.get(expanded["noise"])}
        config = resolve_dict(merge(expanded, {name: value for name, value in given.items() if value is not None}))
        run_id = config.run_id
        config = config.model_copy(update={"output": output / run_id})
        runs.append(PlannedRun(config, run_id, _label(card, config.model_dump(mode="json"))))
    if len({run.run_id for run in runs}) != len(runs):
        raise UserError(f"board {card.name!r}: a run is named twice; give every method once")
    return Suite(take_shard(runs, *selection.shard), output, board)


def _label(card: BenchmarkCard, config: dict[str, Any]) -> str:
    return f"{row_name(card, config)} · {cell_of(card, config).label} · seed {config['seed']}"


def take_shard(runs: list[PlannedRun], number: int, count: int) -> list[PlannedRun]:
    """Part ``number`` of ``count``: disjoint, together all, and of about equal cost.

    The runs are dealt round from the costliest down, in the card's order where their cost is unknown. What is done
    already plays no part, so that all workers deal alike, whenever they start.
    """
    dealt = sorted(range(len(runs)), key=lambda position: -(forward_images(runs[position].config) or 0.0))
    return [runs[position] for position in sorted(dealt[number - 1 :: count])]


def parse_shard(text: str) -> tuple[int, int]:
    """``"2/8"`` as (2, 8).

    Raises:
        UserError: it is not i/n with 1 ≤ i ≤ n.
    """
    number, _, count = text.partition("/")
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in (number, count)):
        raise UserError(f"--shard {text[:50]!r}: write i/n, for example --shard 2/8")
    if not 1 <= int(number) <= int(count):
        raise UserError(f"--shard {text!r}: shards are counted from 1 to n")
    return int(number), int(count)


def train_size(config: ResolvedConfig) -> int | None:
    """Images in the noisy train set, by the dataset's size on its card; None if that depends on the files."""
    official = registry.dataset_card(config.dataset).train_size
    if official is None:
        return None
    size = official if config.limit_train is None else min(config.limit_train, official)
    if config.protocol == "authors":  # held-out parts are cut from the test part
        return size
    return size - config.meta_size - config.noisy_val_size - config.clean_val_size


def steps(config: ResolvedConfig) -> int | None:
    """Training steps, counting one pass over the train set an epoch; None if its size is unknown."""
    size = train_size(config)
    if size is None:
        return None
    return config.epochs * num_batches(size, config.batch_size, smallest_batch(config.batch_parts))


def forward_images(config: ResolvedConfig) -> float | None:
    """Forward passes of single images: the method's forward equivalents a step × steps × images a step.

    Evaluation is not counted, nor are a method's epochs of several passes. None if the train set's size is unknown.
    """
    number = steps(config)
    if number is None:
        return None
    cost: float = registry.load_method(config.method).forward_equivalents
    return cost * number * config.batch_size
