"""Trackers: where a run's metrics go besides its own folder. Off unless asked for; the folder needs none of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from noisybench.core.errors import one_line
from noisybench.noise import NoiseArtifact
from noisybench.spec import registry
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.record import RunRecord


@dataclass(frozen=True)
class TrackedRun:
    """What a tracker is told when a run begins or goes on.

    Attributes:
        config: of the run; ``config.run_id`` names it, also when it goes on after a stop.
        output: the run's folder.
    """

    config: ResolvedConfig
    output: Path

    @property
    def title(self) -> str:
        """For people: method, dataset, noise, rate and seed."""
        config = self.config
        return f"{config.method}-{config.dataset}-{config.noise}-{config.noise_rate:g}-seed{config.seed}"


@dataclass(frozen=True)
class Results:
    """What a finished run leaves.

    Attributes:
        record: as saved in the output folder.
        noise: the labels given to the official train part.
        given_labels, estimated_labels: n int64, of the noisy train set; no estimates where the method makes none.
    """

    record: RunRecord
    noise: NoiseArtifact
    given_labels: np.ndarray
    estimated_labels: np.ndarray | None


class Tracker:
    """One tracker. Subclass it, and register the class in the entry-point group ``noisybench.trackers``.

    Users switch it on by ``trackers = ["NAME"]``. Of several processes only the first has trackers. What a tracker
    raises never costs a run anything: it is said once, and the tracker is off from there on.

    Class attributes:
        title: what messages call it; its registered name if empty.
        hint: said where it cannot start.
    """

    title: ClassVar[str] = ""
    hint: ClassVar[str] = ""

    def start(self, run: TrackedRun) -> None:
        """A run begins, or goes on from a checkpoint."""

    def log(self, row: dict[str, float], step: int) -> None:
        """One epoch's scalars, by name, after so many training steps of the run."""

    def finish(self, results: Results) -> None:
        """The run is finished."""

    def close(self) -> None:
        """Let go of whatever is held: the run is finished, or it was stopped and goes on later."""


class Trackers:
    """The trackers of one run, as the loop sees them.

    Args:
        names: registered names.
        say: where a tracker's failure is told.

    Raises:
        UserError: one of them cannot be used.
    """

    def __init__(self, names: list[str], say: Callable[[str], None]):
        self._kinds: dict[str, type[Tracker]] = {name: registry.load("tracker", name) for name in names}
        self._on: dict[str, Tracker] = {}
        self._say = say

    def start(self, run: TrackedRun) -> None:
        """Start all of them."""
        for name, kind in self._kinds.items():
            hint = f"; {kind.hint}" if kind.hint else ""
            try:
                self._on[name] = kind()
                self._on[name].start(run)
            except Exception as error:  # a missing login, a network that is down: each has its own kinds
                self._turn_off(name, f"is off for this run ({one_line(error)}){hint}")

    def log(self, row: dict[str, float | None], step: int) -> None:
        """One epoch's scalars; those that are not defined are left out."""
        known = {name: value for name, value in row.items() if value is not None}
        self._each("is off from here on", lambda tracker: tracker.log(known, step))

    def finish(self, results: Results) -> None:
        """Give all of them the results, and close them."""
        self._each(
            "has not taken all of the results; the local record is complete", lambda tracker: tracker.finish(results)
        )
        self.close()

    def close(self) -> None:
        """Close all that are still on."""
        self._each("has not taken all so far", lambda tracker: tracker.close())
        self._on.clear()

    def _each(self, told: str, call: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self._on.items()):
            try:
                call(tracker)
            except Exception as error:  # as above: what a tracker raises must not cost the run its record
                self._turn_off(name, f"{told} ({one_line(error)})")

    def _turn_off(self, name: str, told: str) -> None:
        tracker = self._on.pop(name, None)
        self._say(f"{self._kinds[name].title or f'tracker {name!r}'} {told}")
        try:
            if tracker is not None:
                tracker.close()
        except Exception:  # it has failed already, and that was told
            pass
