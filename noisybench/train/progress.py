"""Telling the user how a run goes: a live bar on a terminal, plain lines elsewhere, nothing on other processes."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from noisybench.core.console import literal, printable, say
from noisybench.spec.identity import with_later_fields
from noisybench.spec.metrics import EPOCH, METRICS, in_figures, last_validation, titles
from noisybench.spec.track import STANDARD
from noisybench.spec.values import PreprocessConfig

if TYPE_CHECKING:
    import torch

    from noisybench.spec.config import ResolvedConfig
    from noisybench.spec.record import RunRecord
    from noisybench.train.prepare import RunData


class Progress:
    """The silent reporter; :class:`ConsoleProgress` speaks."""

    def start(self, config: ResolvedConfig, data: RunData, output: Path, device: torch.device) -> None:
        """The run is about to begin."""

    def computing(self, what: str, done: int, total: int) -> None:
        """So many of the images are done, in what comes before the training."""

    def step(self, done: float) -> None:
        """One training step is done; so many epochs are."""

    def epoch(self, row: dict) -> None:
        """One epoch is done and evaluated."""

    def say(self, line: str) -> None:
        """One line the user should read."""

    def finish(self, record: RunRecord, output: Path) -> None:
        """The run is done."""

    def close(self) -> None:
        """Nothing more will be told, however the run ended."""


class Pace:
    """How fast something goes that is told line by line, at most one in :data:`EVERY` seconds, and one at its end.

    Attributes:
        what: it is.
    """

    EVERY = 10.0

    def __init__(self, what: str):
        self.what = what
        self._first: tuple[float, int] | None = None  # when, and how much was done then
        self._told = -math.inf

    def line(self, done: int, total: int, *, now: float) -> str | None:
        """What to say; None if nothing.

        Args:
            now: in seconds, by a clock that does not go back.
        """
        if self._first is None:
            self._first = now, done
        if now - self._told < self.EVERY and done < total:
            return None
        self._told = now
        seconds, more = now - self._first[0], done - self._first[1]
        pace = f", {more / seconds:.0f} images/s, {(total - done) * seconds / more:.0f} s to go" if more else ""
        return f"{self.what}: {done} of {total}{pace}"


def _prepared(config: ResolvedConfig, side: int) -> str:
    """How images are prepared where that is not as the dataset's card says."""
    asked = config.preprocess
    why = "for the pretrained weights" if config.pretrained or config.weights is not None else "as set"
    parts = [f"{side}×{side} pixels"]
    if asked.crop_pct is not None:
        parts.append(f"{asked.crop_mode or 'center'} crop of {asked.crop_pct:g}")
    if asked.interpolation is not None:
        parts.append(asked.interpolation)
    for name, values in (("mean", asked.mean), ("std", asked.std)):
        if values is not None:
            parts.append(f"{name} {' '.join(f'{value:.3f}' for value in values)}")
    return f"images are prepared {why}: {', '.join(parts)}"


class ConsoleProgress(Progress):
    """Reports on a console."""

    def __init__(self, console: Console):
        self._console = console
        self._bar: Bar | None = None
        self._pace: Pace | None = None

    def computing(self, what, done, total) -> None:
        if self._pace is None or self._pace.what != what:
            self._pace = Pace(what)
        line = self._pace.line(done, total, now=time.monotonic())
        if line is not None:
            self.say(line)

    def start(self, config, data, output, device) -> None:
        splits, dataset = data.splits, data.dataset
        if data.train_noise_rate is None:
            noise = "labels as shipped (true noise rate unknown)"
        else:
            achieved = f"achieved {data.train_noise_rate:.4f} in the train set"
            noise = f"{data.noise.kind} noise {data.noise.requested_rate:g} ({achieved})"
        what = f"{config.method} on {config.dataset}{_track(config.track)}"
        model = f"a {config.head} head on frozen {config.model}" if config.frozen else f"model {config.model}"
        self.say(f"{what}, {noise}, {model}, seed {config.seed}, {device}")
        self.say(
            f"{len(splits.train)} noisy train, {len(splits.meta)} clean meta, {len(splits.noisy_val)} noisy and "
            f"{len(splits.clean_val)} clean validation, {len(splits.test)} test images; output in {output}"
        )
        size = f"{dataset.decoded_bytes() / 2**20:.0f} MiB decoded, memory budget {config.memory_budget} MiB"
        way = "images are resident" if dataset.resident else f"images are streamed by up to {config.workers} workers"
        self.say(f"{way} ({size})")
        if config.preprocess != PreprocessConfig():
            self.say(_prepared(config, dataset.train.pixels.shape[-1]))
        for note in dataset.notes:
            self.say(note)
        self._epochs = config.epochs
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task("training")
            self._bar.start()

    def step(self, done) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=self._epochs)

    def epoch(self, row) -> None:
        parts = [f"epoch {row[EPOCH.name] + 1}/{self._epochs}"]
        for name, metric in METRICS.items():
            value = row.get(name)
            if metric.short and value is not None:
                parts.append(f"{metric.short} {100 * value:.1f}" if metric.fraction else f"{metric.short} {value:.4f}")
        self.say("  ".join(parts))

    def say(self, line) -> None:
        say(line, self._console)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def finish(self, record, output) -> None:
        self.close()
        self._console.print(summary_table(record))
        for file in ("result.json", "metrics.jsonl", "noise.npz", "labels.parquet", "checkpoints"):
            if (output / file).exists():
                self.say(f"{output / file}{FILE_NOTES.get(file, '')}")


FILE_NOTES = {
    "result.json": ": the run record",
    "labels.parquet": ": estimated labels, the most suspicious first",
}


def summary_table(record: RunRecord) -> Table:
    """The metrics of one run in per cent."""
    config = with_later_fields(record.config)
    title = f"{config['method']} on {config['dataset']}{_track(config['track'])}, run {record.run_id}"
    table = Table(title=escape(printable(title)))
    table.add_column("metric")
    table.add_column("%", justify="right")
    for title, accuracy in last_validation(record.curves).items():
        table.add_row(title, f"{100 * accuracy:.2f}")
    for name, title in titles().items():
        if name in record.metrics:
            value = record.metrics[name]
            table.add_row(literal(title), "-" if value is None else in_figures(name, value))
    table.add_row("training time, s", f"{record.cost.train_seconds:.1f}")
    return table


def _track(track: str) -> str:
    return "" if track == STANDARD else f", {track} track"
