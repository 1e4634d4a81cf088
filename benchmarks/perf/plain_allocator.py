"""The same steps in a process that leaves the C library's allocator as it comes: how other code would run here."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial

import torch

from benchmarks.perf.steps import StepsAsked, ready_subjects
from benchmarks.perf.timing import timed, turn
from benchmarks.perf.together import Crew, Piece
from noisybench.core.errors import UserError
from noisybench.core.machine import keeps_freed_memory

SUFFIX = ", plain allocator"


class PlainProcess:
    """A process whose steps take turns with this one's. As a context it ends it, however it is left.

    Args:
        asked: what it builds.

    Attributes:
        failed: the reason by name, of what does not run there; known once its timers are.

    Raises:
        UserError: this process keeps no freed memory, so there is nothing to compare.
    """

    def __init__(self, asked: StepsAsked):
        if not keeps_freed_memory():
            raise UserError(
                "--plain-allocator: this process does not keep freed memory anyway (a GPU is measured, the C library "
                "is not glibc, or an environment variable sets its allocator); leave it out"
            )
        self.failed: dict[str, str] = {}
        self._crew = Crew(plain_steps, asked, 1)

    def __enter__(self) -> PlainProcess:
        self._crew.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        self._crew.__exit__(*raised)

    def timers(self) -> dict[str, Callable[[], float]]:
        """Wait until it is warm; the timers of its steps by name, to be called in the order of :func:`turn`.

        Raises:
            ProcessFailed: it raised or died.
        """
        self._crew.wait_until_ready()
        ((names, failed),) = self._crew.work()
        self.failed = {name + SUFFIX: reason for name, reason in failed.items()}
        return {name + SUFFIX: self._next for name in names}

    def _next(self) -> float:
        self._crew.wait_until_ready()
        (seconds,) = self._crew.work()
        return seconds


def plain_steps(asked: StepsAsked) -> Iterator[Piece]:
    """The names of the warm steps and what does not run; then each step's seconds, round by round.

    Raises:
        UserError: a method cannot be built.
    """
    torch.set_num_threads(asked.threads)
    device = torch.device("cpu")
    subjects, failed = ready_subjects(asked, device)
    yield partial(tuple, (list(subjects), failed))
    for number in itertools.count():
        for name in turn(list(subjects), number):
            yield partial(timed, subjects[name].step, device)
