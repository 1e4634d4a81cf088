"""When a run is saved and what of it: at the end of every epoch, now and then within one, and when asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from noisybench.core.errors import DamagedCheckpoint, RunStopped, UserError
from noisybench.core.files import reported
from noisybench.data.loader import Pass
from noisybench.methods.base import Method
from noisybench.parallel.signals import StopSignals
from noisybench.parallel.world import World
from noisybench.spec.config import RunConfig
from noisybench.spec.metrics import under_method
from noisybench.train import checkpoint_file

KEPT_CHECKPOINTS = 2


@dataclass
class Past:
    """What a run has behind it.

    Attributes:
        curves: one row of metrics per finished epoch.
        step: training steps done.
        train_seconds: spent training.
        wall_seconds: of the earlier processes that the run was resumed from.
    """

    curves: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    train_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass
class BegunEpoch:
    """An epoch in which a run is.

    Attributes:
        first_step: the run's step count before it.
        passes: what the method planned when it began; a resumed run does not ask again.
        meter: the state of its :class:`~noisybench.train.evaluate.TrainingMeter`.
    """

    first_step: int
    passes: list[Pass]
    meter: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Resumed:
    """What a checkpoint gives back; ``epoch`` is None if it was saved at an epoch's end."""

    file: Path
    method: dict[str, Any]
    past: Past
    epoch: BegunEpoch | None


class Checkpoints:
    """The checkpoints of one run. Every process asks and saves at the same step; the main one writes.

    Args:
        started: when this process began the run, by ``time.perf_counter``.
    """

    def __init__(
        self,
        folder: Path,
        config: RunConfig,
        world: World,
        device: torch.device,
        signals: StopSignals,
        started: float,
    ):
        self._started = started
        self._folder, self._world, self._device, self._signals = folder, world, device, signals
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

    def save(self, method: Method, past: Past, epoch: BegunEpoch | None) -> None:
        """Write a checkpoint; keep the last two.

        Args:
            epoch: the one that has begun; None at an epoch's end.

        Raises:
            UserError: it cannot be written; the earlier ones are intact.
        """
        if self._world.is_main:
            content = {
                "method": method.state_dict(),
                "past": {**vars(past), "wall_seconds": past.wall_seconds + time.perf_counter() - self._started},
                "epoch": None if epoch is None else {**vars(epoch), "passes": [vars(part) for part in epoch.passes]},
            }
            with reported(self._folder):
                checkpoint_file.delete_others(
                    checkpoint_file.save_checkpoint(self._folder, past.step, content), KEPT_CHECKPOINTS
                )
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

    def resume(self, say: Callable[[str], None]) -> Resumed | None:
        """The newest checkpoint that is whole; None if the run has none yet.

        Args:
            say: told of every damaged checkpoint that is passed over.

        Raises:
            UserError: all are damaged, or of another version.
        """
        found = checkpoint_file.checkpoints(self._folder)
        for file in reversed(found):
            try:
                return _resumed(file, checkpoint_file.load_checkpoint(file))
            except DamagedCheckpoint as error:
                earlier = found[: found.index(file)]
                if not earlier:
                    raise UserError(
                        f"{self._folder}: no checkpoint is left to go on from ({error}); put back a copy, or delete "
                        f"the folder to start this run anew"
                    ) from error
                say(f"warning: {error}; falling back to {earlier[-1].name}, the one before it")
        return None


def _resumed(file: Path, content: dict[str, Any]) -> Resumed:
    epoch = content["epoch"]
    if epoch is not None:
        epoch = BegunEpoch(**{**epoch, "passes": [Pass(**part) for part in epoch["passes"]]})
    past = Past(**content["past"])
    past.curves = [{under_method(name): value for name, value in row.items()} for row in past.curves]
    return Resumed(file, content["method"], past, epoch)
