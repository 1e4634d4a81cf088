"""One worker: takes the runs of a suite one after another, each only under its lease."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass

from noisybench.bench import leases
from noisybench.bench.plan import PlannedRun, State, Suite
from noisybench.core.errors import FolderInUse, UserError
from noisybench.spec.metrics import EPOCH
from noisybench.train.progress import Progress

POLL_SECONDS = 2.0


@dataclass(frozen=True)
class Event:
    """What a worker tells: ``what`` is "started", "epoch" (with how many are done), "done", "failed", "not filed",
    "taken over", "in use" or "said"."""

    run_id: str
    what: str
    detail: str = ""
    epochs: float = 0.0


Listener = Callable[[Event], None]


class TakenOver(Exception):
    """Another worker has this run now: this one was silent for too long, as on a machine that was suspended."""


def work(suite: Suite, tell: Listener) -> None:
    """Run what is to do until every run is done or failed.

    When only runs of other live workers are left, it waits: should one of them die, its run is taken over.

    Raises:
        UserError: the folder of the suite cannot be written.
        RunStopped: a stop signal came; the run at work is saved.
    """
    left = list(suite.runs)
    while left:
        waiting = []
        for run in left:
            if _settled(suite, run, mine=False):
                continue
            lease = leases.acquire(suite.lease_folder, run.run_id)
            if lease is None:
                waiting.append(run)
                continue
            with lease:
                # Looked at again: it may have been finished between the look and the lease.
                if not _settled(suite, run, mine=True):
                    _run(suite, run, lease, tell)
        left = waiting
        if left:
            time.sleep(POLL_SECONDS)


def _settled(suite: Suite, run: PlannedRun, *, mine: bool) -> bool:
    """Whether there is nothing to do for a run."""
    state = suite.status(run, mine=mine).state
    return state == State.FAILED or (state == State.DONE and suite.filed(run))


def _run(suite: Suite, run: PlannedRun, lease: leases.Lease, tell: Listener) -> None:
    """Run, or finish, one run and file its record. What goes wrong is noted and told; the suite goes on."""
    import noisybench

    tell(Event(run.run_id, "started"))
    try:
        noisybench.run(run.config, resume=True, progress=_LeasedProgress(run, lease, tell))
    except TakenOver:
        tell(Event(run.run_id, "taken over"))
        return
    except FolderInUse as error:  # by a run outside the suite, or a suspended worker that was taken for dead
        tell(Event(run.run_id, "in use", str(error)))
        return
    except Exception as error:
        expected = isinstance(error, UserError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        suite.mark_failed(run, reason if expected else traceback.format_exc())
        tell(Event(run.run_id, "failed", reason))
        return
    if suite.board is not None and not suite.filed(run):
        try:
            suite.board.add([suite.folder(run)])
        except UserError as error:
            tell(Event(run.run_id, "not filed", str(error)))
            return
    tell(Event(run.run_id, "done"))


class _LeasedProgress(Progress):
    """Tells of a run's epochs, and stops the run if its lease is lost."""

    def __init__(self, run: PlannedRun, lease: leases.Lease, tell: Listener):
        self._run, self._lease, self._tell = run, lease, tell

    def say(self, line) -> None:
        self._tell(Event(self._run.run_id, "said", line))

    def epoch(self, row) -> None:
        self._tell(Event(self._run.run_id, "epoch", epochs=row[EPOCH.name] + 1))
        if self._lease.lost():
            raise TakenOver
