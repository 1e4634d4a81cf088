"""`noisybench bench run`: a suite from start to end, and what is left of it."""

from __future__ import annotations

import collections
import signal

from rich.console import Console

from noisybench.bench.plan import State, Suite, last_line
from noisybench.bench.pool import default_jobs, run_workers
from noisybench.bench.report import LiveReport
from noisybench.bench.worker import Event
from noisybench.core.errors import RunStopped
from noisybench.parallel.signals import StopSignals


def run_suite(suite: Suite, console: Console, *, jobs: int | None = None, retry_failed: bool = False) -> int:
    """Run what is not done yet.

    Args:
        jobs: how many runs at a time; :func:`~noisybench.bench.pool.default_jobs` if not given.
        retry_failed: try again what failed before.

    Returns:
        The exit code: 0, 1 if a run failed, was not filed or is left, 130 after Ctrl-C, 143 after another stop signal.
    """
    unfiled: dict[str, str] = {}

    def listen(event: Event) -> None:
        if event.what == "not filed":
            unfiled[event.run_id] = event.detail
        report(event)

    if retry_failed:
        for run in suite.runs:
            if suite.status(run).state == State.FAILED:
                suite.forget_failure(run)
    report = LiveReport(suite, console)
    died: list[str] = []
    stopped: RunStopped | None = None
    to_do = sum(suite.status(run).state in (State.TO_DO, State.INTERRUPTED) for run in suite.runs)
    try:
        with StopSignals(), report:
            died = run_workers(suite, default_jobs(to_do) if jobs is None else jobs, listen)
    except RunStopped as stop:
        stopped = stop
        report.say(str(stop))
    for line in died:
        report.say(line)
    return _conclude(suite, report, unfiled, stopped)


def _conclude(suite: Suite, report: LiveReport, unfiled: dict[str, str], stopped: RunStopped | None) -> int:
    """Say how a suite ended; its exit code."""
    statuses = [(run, suite.status(run)) for run in suite.runs]
    for run, status in statuses:
        if status.state == State.FAILED:
            report.say(f"failed: {run.label} ({run.run_id}): {last_line(status.detail)}")
        if run.run_id in unfiled:
            report.say(f"not filed: {run.label} ({run.run_id}): {unfiled[run.run_id]}")
    counts = collections.Counter(status.state for _, status in statuses)
    report.say(", ".join(f"{counts[state]} {state}" for state in State if counts[state]) or "no run in this shard")
    if counts[State.FAILED]:
        report.say("failed runs are left alone; try them again with --retry-failed")
    left = len(statuses) - counts[State.DONE] - counts[State.FAILED]
    if left:
        report.say(f"{left} left to do; the same command goes on from here")
    if suite.board is not None and counts[State.DONE]:
        report.say(f"records are in {suite.board.runs}; `noisybench leaderboard build` draws the board")
    if stopped is not None:
        return 128 + (signal.SIGINT if stopped.signal == signal.SIGINT else signal.SIGTERM)
    return 1 if counts[State.FAILED] or unfiled or left else 0
