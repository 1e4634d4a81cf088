"""What a suite shows: the plan with its cost, and how it goes, redrawn on a terminal and in plain lines elsewhere."""

from __future__ import annotations

import collections
import datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table

from noisybench.bench.estimate import Estimate, estimate, known_records
from noisybench.bench.plan import PlannedRun, State, Suite, last_line
from noisybench.bench.worker import Event
from noisybench.core.console import literal, say


def print_plan(suite: Suite, console: Console) -> None:
    """Print a suite."""
    statuses = [suite.status(run) for run in suite.runs]
    records = known_records(suite, statuses)
    estimates = [estimate(suite, run, status, records) for run, status in zip(suite.runs, statuses, strict=True)]
    table = Table()
    for title in ("run id", "run", "state", "forward passes", "time", ""):
        table.add_column(title, justify="right" if title in ("forward passes", "time") else "left")
    for run, status, cost in zip(suite.runs, statuses, estimates, strict=True):
        told = _passes(cost), _time(cost), literal(last_line(status.detail))
        table.add_row(run.run_id, literal(run.label), str(status.state), *told)
    console.print(table)
    counts = collections.Counter(status.state for status in statuses)
    totals = ", ".join(f"{counts[state]} {state}" for state in State if counts[state])
    console.print(f"{len(suite.runs)} runs: {totals or 'none'}", highlight=False)
    for line in _explained(estimates):
        say(line, console)


def _explained(estimates: list[Estimate]) -> list[str]:
    """The total, and what it is made of."""
    counted = [cost.forward_images for cost in estimates if cost.forward_images is not None]
    more = "at least " if len(counted) < len(estimates) else ""
    lines = [
        f"Left: {more}{sum(counted):.2e} forward passes of one image = the methods' forward equivalents a step × "
        f"steps × batch size; evaluation and epochs of several passes are not counted."
    ]
    known = [cost.seconds for cost in estimates if cost.seconds]
    if known:
        total = datetime.timedelta(seconds=round(sum(known)))
        lines.append(f"Time left, one run after another: {total}, from:")
    bases = collections.Counter(cost.basis for cost in estimates if cost.basis)
    lines += [f"  {count} run{'s' if count > 1 else ''}: {basis}" for basis, count in sorted(bases.items())]
    return lines


def _passes(cost: Estimate) -> str:
    if cost.forward_images is None:
        return "unknown"
    return f"{cost.forward_images:.2e}" if cost.forward_images else ""


def _time(cost: Estimate) -> str:
    if cost.seconds is None:
        return "unknown"
    return str(datetime.timedelta(seconds=round(cost.seconds))) if cost.seconds else ""


class LiveReport:
    """Shows the events of a suite's workers; a context. The table has the runs at work and those that went wrong."""

    def __init__(self, suite: Suite, console: Console):
        self._console = console
        self._runs = {run.run_id: run for run in suite.runs}
        statuses = {run.run_id: suite.status(run) for run in suite.runs}
        self._state = {run_id: str(status.state) for run_id, status in statuses.items()}
        self._details = {run_id: last_line(status.detail) for run_id, status in statuses.items()}
        self._epochs: dict[str, float] = {}
        self._live = Live(console=console, get_renderable=self._table) if console.is_terminal else None

    def __enter__(self) -> LiveReport:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        run = self._runs[event.run_id]
        if event.what == "said":
            self.say(f"{run.label}: {event.detail}")
            return
        if event.what == "epoch":
            self._epochs[run.run_id] = event.epochs
            return
        states = {"started": "running", "taken over": str(State.LEASED)}
        self._state[run.run_id] = states.get(event.what, event.what)
        self._details[run.run_id] = event.detail
        if self._live is None:
            settled = sum(state in (State.DONE, State.FAILED, "not filed") for state in self._state.values())
            detail = f": {event.detail}" if event.detail else ""
            self.say(f"[{settled}/{len(self._runs)}] {run.label} ({run.run_id}): {event.what}{detail}")

    def say(self, line: str) -> None:
        """One line for the user."""
        say(line, self._console)

    def _table(self) -> Table:
        counts = collections.Counter(self._state.values())
        table = Table(title=", ".join(f"{count} {state}" for state, count in sorted(counts.items())))
        for title in ("run", "state", "epochs", ""):
            table.add_column(title)
        for run_id, run in self._runs.items():
            if self._state[run_id] in ("running", "not filed", State.FAILED):
                table.add_row(literal(run.label), self._state[run_id], self._done(run), literal(self._details[run_id]))
        return table

    def _done(self, run: PlannedRun) -> str:
        done = self._epochs.get(run.run_id)
        return "" if done is None else f"{done:g}/{run.config.epochs}"
