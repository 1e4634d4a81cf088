"""What a method must not see: process numbers, true labels, test images, paths."""

from __future__ import annotations

import sys
import types
from pathlib import PurePath
from typing import Any

from noisybench.conformance.reach import modules_values, reachable
from noisybench.conformance.secrets import Secrets
from noisybench.data import Dataset
from noisybench.methods.base import Method
from noisybench.methods.priors import UndeclaredError
from noisybench.parallel.world import World
from noisybench.spec.config import RunConfig
from noisybench.train.prepare import RunData, Streams

PLUMBING = {
    "noisybench.models.sync_batchnorm",
    "noisybench.parallel.world",
    "noisybench.methods.context",
    "noisybench.train.build",
    "noisybench.train.session",
    "noisybench.train.evaluate",
    "noisybench.conformance.seal",
}
SINGLE_PROCESS = types.SimpleNamespace(process_index=0, num_processes=1, is_main_process=True)


FORBIDDEN = {
    "rank": "a method must not know which process it is",
    "is_main": "a method must not know which process it is",
    "size": "a method must not know how many processes there are",
    "_accelerator": "a method must not know how it is run",
}


def _plumbing_only(name: str) -> property:
    def read(self):
        if sys._getframe(1).f_globals["__name__"] not in PLUMBING:
            raise UndeclaredError(f"context.world.{name} is read: {FORBIDDEN[name]}")
        return vars(self)[f"_{name}"]

    def write(self, value):
        vars(self)[f"_{name}"] = value

    return property(read, write)


class SealedWorld(World):
    """A single process that does not tell a method which one it is, nor of how many."""

    rank = _plumbing_only("rank")
    is_main = _plumbing_only("is_main")
    size = _plumbing_only("size")
    _accelerator = _plumbing_only("_accelerator")

    def __init__(self):
        super().__init__(SINGLE_PROCESS)


def reachable_secret(method: Method, data: RunData, streams: Streams, before: dict[tuple[str, str], Any]) -> str | None:
    """Where a method holds something it must not see, as a dotted name with a word about it; None if it does not.

    Python hides nothing from code that looks for it: what a method fetches by itself and keeps nowhere is out of sight.

    Args:
        before: what modules held before the method was built (:func:`~noisybench.conformance.reach.modules_values`).
    """
    secrets = Secrets(data, streams)
    for place, value, held in reachable(method):
        if held and isinstance(value, PurePath):
            return f"{place} (a path)"
        if isinstance(value, RunConfig | RunData | Dataset | Streams):
            return f"{place} (a {type(value).__name__} of the benchmark)"
        known = secrets.known_by(value)
        if known is not None:
            return f"{place} ({known})"
    for (module, name), value in modules_values().items():
        if before.get((module, name)) is not value:
            known = secrets.known_by(value)
            if known is not None:
                return f"{module}.{name} ({known})"
    return None
