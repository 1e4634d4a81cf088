"""Trying cases: each within a time, counted by what came of it."""

from __future__ import annotations

import collections
import random
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from noisybench.core.console import printable
from noisybench.core.errors import UserError
from noisybench.core.time_limit import TookTooLong, time_limit

HANGS_AFTER = 180.0  # seconds; a busy machine takes long to start a process

Case = Callable[[random.Random], None]


class BadRefusal(Exception):
    """A case was refused otherwise than in one line with exit code 2, or left something behind."""


@dataclass
class Tally:
    """What came of the cases of one surface."""

    tried: int = 0
    taken: int = 0
    refused: int = 0
    hangs: int = 0
    slowest: float = 0.0
    bad: collections.Counter[str] = field(default_factory=collections.Counter)  # by the place and kind of the failure
    told: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Cases that were neither taken nor refused as they should be."""
        return self.hangs + sum(self.bad.values())


def attempt(tally: Tally, case: Case, seed: int) -> None:
    """Try the case that a seed draws."""
    started = time.monotonic()
    tally.tried += 1
    try:
        with time_limit(HANGS_AFTER):
            case(random.Random(seed))
        tally.taken += 1
    except UserError as error:
        tally.refused += 1
        if "\n" in str(error) and "\n" in printable(str(error)):
            tally.bad["more than one line"] += 1
    except TookTooLong:
        tally.hangs += 1
        tally.told.append(f"seed {seed}: hangs")
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "noisybench" in frame.filename]
        place = f"{frames[-1].filename.rpartition('noisybench/')[2]}:{frames[-1].lineno}" if frames else "?"
        kind = f"{place} {type(error).__name__}: {printable(error)[:300]}"
        tally.bad[kind] += 1
        if tally.bad[kind] == 1:
            tally.told.append(f"seed {seed}: {kind}")
    tally.slowest = max(tally.slowest, time.monotonic() - started)
