"""One run as a process of its own measures it: stretches of training and evaluation, in the phases of a run."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from accelerate import Accelerator

from benchmarks.perf.epoch import PADDING
from benchmarks.perf.problem import SINGLE_PROCESS, Problem, Size
from benchmarks.perf.steps import WARMUP
from benchmarks.perf.subjects import Variant
from benchmarks.perf.timing import wait_for
from benchmarks.perf.together import Piece
from noisybench.core.machine import keep_freed_memory
from noisybench.parallel.connect import forget_another_precision
from noisybench.train.evaluate import accuracies
from noisybench.train.progress_made import BegunEpoch
from noisybench.train.session import Step

WARM_UP, MAIN, EVALUATION = "warm-up", "main phase", "evaluation"
MIXED = {"fp32": "no", "bf16": "bf16"}  # as a run's configuration says it
GPU_WARMUP = 100  # steps: clocks and the allocator have settled


@dataclass(frozen=True)
class Assignment:
    """What a process is to measure.

    Attributes:
        variant: the method.
        size: of the problem; its rows are the images of an epoch.
        phases: epochs of a run that are :data:`WARM_UP` and :data:`MAIN`, and that :data:`EVALUATION` follows, in this
            order; a phase that is not there is not measured.
        steps: of training, in a stretch.
        evaluated: images that a run evaluates after each epoch. A stretch evaluates at most as many as it trains on.
        repeats: stretches of each phase.
        device: cpu or cuda.
        threads: of one operator on the CPU.
        precision: fp32 or bf16, as a run's ``mixed_precision``.
        channels_last: as a run's.
    """

    variant: Variant
    size: Size
    phases: dict[str, int]
    steps: int
    evaluated: int
    repeats: int
    device: str
    threads: int
    precision: str
    channels_last: bool


@dataclass(frozen=True)
class Stretch:
    """What one process measured.

    Attributes:
        samples: that it trained on or evaluated.
        seconds: by its own clock.
        done: steps of training; images of evaluation.
        in_epoch: how many of these an epoch has.
        before: seconds that an epoch takes before the first of them: what the method does at its start.
    """

    samples: int
    seconds: float
    done: int
    in_epoch: int
    before: float

    @property
    def epoch_seconds(self) -> float:
        """Of a whole epoch (of one evaluation), if all of it goes as what was measured."""
        return self.before + self.in_epoch * self.seconds / self.done


def stretches(assignment: Assignment) -> Iterator[Piece]:
    """Build the run; then ``assignment.repeats`` stretches of each phase, each phase warmed up before.

    Raises:
        UserError: the method raised, or picks no images.
    """
    torch.set_num_threads(assignment.threads)
    device = torch.device(assignment.device)
    if device.type == "cpu":
        keep_freed_memory()
    forget_another_precision(MIXED[assignment.precision])
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=MIXED[assignment.precision])
    problem = build(assignment, device, accelerator)
    for phase in _phases(problem, assignment, device):
        phase.warm_up()
        wait_for(device)
        for _ in range(assignment.repeats):
            yield phase.stretch


def build(assignment: Assignment, device: torch.device, accelerator: Any = SINGLE_PROCESS) -> Problem:
    """The run, with random crop and flip.

    Args:
        accelerator: Accelerate's own where precision is bf16.

    Raises:
        UserError: the method cannot be built, or a setting is wrong.
    """
    changes = {
        "augment": {"crop_padding": PADDING, "horizontal_flip": True},
        "mixed_precision": MIXED[assignment.precision],
        "channels_last": assignment.channels_last,
    }
    test_rows = min(assignment.evaluated, assignment.steps * assignment.size.batch_size) or None
    size = replace(assignment.size, test_rows=test_rows)
    return Problem(
        assignment.variant.method, assignment.variant.settings, size, device, changes=changes, accelerator=accelerator
    )


def _phases(problem: Problem, assignment: Assignment, device: torch.device) -> Iterator[Training | Evaluation]:
    """The phases that are asked for; every epoch is begun, as the method may need it."""
    of_epoch = {0: WARM_UP, problem.config.epochs - 1: MAIN}
    for epoch in range(problem.config.epochs):
        training = Training(problem, epoch, assignment.steps, device)
        if of_epoch.get(epoch) in assignment.phases:
            yield training
    if EVALUATION in assignment.phases:
        yield Evaluation(problem, assignment.evaluated, device)


class Training:
    """Training as a run does it, with its loader and its meter. An epoch that is over begins again.

    Args:
        epoch: which one; it is begun.
        steps: of a stretch.

    Raises:
        UserError: the method raised, or picks no images.
    """

    def __init__(self, problem: Problem, epoch: int, steps: int, device: torch.device):
        self._problem, self._epoch, self._steps, self._device = problem, epoch, steps, device
        started = time.perf_counter()
        self._passes = problem.session.begin_epoch(epoch)
        wait_for(device)
        self._before = time.perf_counter() - started
        self._in_epoch = sum(problem.loader.num_batches(part) for part in self._passes)
        self._endless = self._endless_steps()

    def warm_up(self) -> None:
        self._train(min(self._steps, GPU_WARMUP) if self._device.type == "cuda" else WARMUP)

    def stretch(self) -> Stretch:
        """The next steps."""
        started = time.perf_counter()
        samples = self._train(self._steps)
        wait_for(self._device)
        seconds = time.perf_counter() - started
        return Stretch(samples, seconds, self._steps, self._in_epoch, self._before)

    def _train(self, steps: int) -> int:
        """Take so many steps; the images they train on, each counted once a step."""
        return sum(len(step.batch.index) for step in itertools.islice(self._endless, steps))

    def _endless_steps(self) -> Iterator[Step]:
        session, epoch = self._problem.session, self._epoch
        for first in itertools.count(0, self._in_epoch):
            meter = session.new_meter()
            for step in session.steps(epoch, BegunEpoch(first, self._passes)):
                meter.add(step.batch, step.output)
                yield step
            meter.first_bad_step(), meter.means()


class Evaluation:
    """Evaluation of all heads, as after every epoch.

    Args:
        in_epoch: images that a run evaluates after an epoch.
    """

    def __init__(self, problem: Problem, in_epoch: int, device: torch.device):
        self._problem, self._in_epoch, self._device = problem, in_epoch, device

    def warm_up(self) -> None:
        self.stretch()

    def stretch(self) -> Stretch:
        """The test set of the problem, once."""
        problem, test = self._problem, self._problem.streams.test
        started = time.perf_counter()
        accuracies(problem.method, test, problem.world)
        wait_for(self._device)
        seconds = time.perf_counter() - started
        return Stretch(len(test), seconds, len(test), self._in_epoch, 0.0)
