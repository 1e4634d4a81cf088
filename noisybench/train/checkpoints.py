"""When a run is saved: at the end of every epoch, now and then within one, and when asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from noisybench.core.errors import DamagedCheckpoint, RunStopped, UserError
from noisybench.core.files import reported
from noisybench.parallel.signals import StopSignals
from noisybench.spec.config import ResolvedConfig
from noisybench.train import checkpoint_file
from noisybench.train.build import Place
from noisybench.train.progress_made import Past
from noisybench.train.session import Session

KEPT_CHECKPOINTS = 2


@dataclass(frozen=True)
class Found:
    """A checkpoint that is whole: its file, and the session's state in it."""

    file: Path
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run. Every process asks and saves at the same step; the main one writes.

    Args:
        started: when this process began the run, by ``time.perf_counter``.
    """

    def __init__(
        self,
        folder: Path,
        config: ResolvedConfig,
        place: Place,
        signals: StopSignals,
        started: float,
    ):
        self._started = started
        self._folder, self._world, self._device, self._signals = folder, place.world, place.device, signals
        self._every = config.checkpoint_steps
        self._seconds = 60 * config.checkpoint_minutes
        self._saved = time.monotonic()
        self._votes: torch.Tensor | None = None
        self._stop = False

    def due(self, step: int) -> bool:
        """Whether to save after this step of an epoch: every so many steps or minutes, or because the run is to stop.

        Args:
            step: training steps done.
        """
        late = 0 < self._seconds <= time.monotonic() - self._saved
        stop, late = self._agreed(self._signals.received is not None, late)
        self._stop = self._stop or stop
        return stop or late or (self._every > 0 and step % self._every == 0)

    def _agreed(self, stop: bool, late: bool) -> tuple[bool, bool]:
        """Whether any process says so. With several, one step later: so none waits for the device within a step."""
        if self._world.size == 1:
            return stop, late
        votes = torch.tensor([stop, late], dtype=torch.int64, device=self._device)
        before, self._votes = self._votes, self._world.total(votes)
        return (False, False) if before is None else tuple(before.bool().tolist())

    def save(self, session: Session) -> None:
        """Write a checkpoint, of a session between epochs or one that was paused; keep the last two.

        Raises:
            UserError: it cannot be written; the earlier ones are intact.
        """
        if self._world.is_main:
            state = session.state_dict()
            state["past"]["wall_seconds"] += time.perf_counter() - self._started
            with reported(self._folder):
                newest = checkpoint_file.save_checkpoint(self._folder, session.past.step, state)
                checkpoint_file.delete_others(newest, KEPT_CHECKPOINTS)
        self._saved, self._votes = time.monotonic(), None

    def end_epoch(self) -> None:
        """Find out whether a process was asked to stop since the last step, as while it evaluated."""
        asked = torch.tensor(self._signals.received is not None, dtype=torch.int64, device=self._device)
        self._stop = self._stop or bool(self._world.total(asked))

    def stop_if_asked(self, past: Past) -> None:
        """End the run here if that was asked for; to be called right after :meth:`save`.

        Raises:
            RunStopped: on every process.
        """
        if not self._stop:
            return
        self._world.wait()  # until the checkpoint is written
        name = self._signals.received.name if self._signals.received else "a signal to another process"
        raise RunStopped(f"stopped by {name} after step {past.step}, saved in {self._folder}", self._signals.received)

    def newest(self, say: Callable[[str], None]) -> Found | None:
        """The newest checkpoint that is whole; None if the run has none yet.

        Args:
            say: told of every damaged checkpoint that is passed over.

        Raises:
            UserError: all are damaged, or of another version.
        """
        files = checkpoint_file.checkpoints(self._folder)
        for file in reversed(files):
            try:
                return Found(file, checkpoint_file.load_checkpoint(file))
            except DamagedCheckpoint as error:
                earlier = files[: files.index(file)]
                if not earlier:
                    raise UserError(
                        f"{self._folder}: no checkpoint is left to go on from ({error}); put back a copy, or delete "
                        f"the folder to start this run anew"
                    ) from error
                say(f"warning: {error}; falling back to {earlier[-1].name}, the one before it")
        return None
