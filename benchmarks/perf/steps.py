"""Time and peak memory of training steps, against a bare loop's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from benchmarks.perf.hardware import hardware
from benchmarks.perf.memory import peak_allocated_bytes, peak_bytes
from benchmarks.perf.problem import Size
from benchmarks.perf.records import Circumstances, Record, make_records
from benchmarks.perf.subjects import Bare, Subject, Variant
from benchmarks.perf.timing import in_turns, timed, wait_for
from noisybench.core.errors import UserError, one_line

WARMUP = 3  # steps: lazy state, autotuning and compilation are over, and MLNT's ramp has begun
GPU_BURST = 10
LAYOUTS = {False: "contiguous", True: "channels last"}


@dataclass(frozen=True)
class Measured:
    """What was found.

    Attributes:
        records: of everything that runs.
        failed: the reason by name, of what does not run or cannot be counted.
    """

    records: list[Record]
    failed: dict[str, str]


def bare_name(channels_last: bool) -> str:
    """The bare loop's name in a layout."""
    return "bare CE, channels last" if channels_last else "bare CE"


@dataclass(frozen=True)
class StepsAsked:
    """What to measure, and how.

    Attributes:
        chosen: methods and references.
        size: of the problem.
        threads: of one operator on the CPU.
        precision: fp32 or bf16 (autocast).
        compiled: whether the networks are.
        channels_last: the layout of networks and images.
    """

    chosen: tuple[Variant, ...]
    size: Size
    threads: int
    precision: str = "fp32"
    compiled: bool = False
    channels_last: bool = False


def ready_subjects(asked: StepsAsked, device: torch.device) -> tuple[dict[str, Subject | Bare], dict[str, str]]:
    """The bare loop in both layouts, methods and references, all warm, by name; and why the others do not run.

    Raises:
        UserError: a method cannot be built.
    """
    how = {"compiled": asked.compiled, "precision": asked.precision}
    ce = Subject(Variant("ce", "ce"), asked.size, device)
    subjects: dict[str, Subject | Bare] = {bare_name(last): Bare(ce, channels_last=last, **how) for last in LAYOUTS}
    failed = {}
    for variant in asked.chosen:
        subjects[variant.name] = Subject(variant, asked.size, device, channels_last=asked.channels_last, **how)
    for name, subject in list(subjects.items()):
        reason = warm_up(subject, device)
        if reason is not None:
            failed[name] = reason
            del subjects[name]
    return subjects, failed


def measure_steps(
    asked: StepsAsked,
    device: torch.device,
    *,
    repeats: int,
    beside: Callable[[], dict[str, Callable[[], float]]] = dict,
) -> Measured:
    """Step time and peak memory of methods and of the bare loop in both layouts, interleaved.

    Args:
        beside: gives timers of another process's steps, by name, that take turns with these when these are warm;
            their memory is not counted.

    Raises:
        UserError: a method cannot be built.
    """
    machine, size = hardware(device), asked.size
    subjects, failed = ready_subjects(asked, device)
    baseline = bare_name(asked.channels_last)
    if baseline in failed:
        raise UserError(f"{baseline} does not run with this model: {failed[baseline]}")

    under = Circumstances(
        "steps",
        {
            "model": size.model,
            "batch": size.batch_size,
            "classes": size.classes,
            "image": size.side,
            "precision": asked.precision,
            "compile": asked.compiled,
            "layout": LAYOUTS[asked.channels_last],
        },
        machine,
    )
    burst = GPU_BURST if device.type == "cuda" else 1
    timers = {name: partial(timed, subject.step, device, burst) for name, subject in subjects.items()} | beside()
    baselines = {name: None if name == baseline else baseline for name in timers}
    times = in_turns(timers, repeats=repeats)
    records = make_records(under, "step time", "s", times, baselines)
    counters = {} if asked.compiled else {"peak memory": peak_bytes}  # compiled regions are one operator to the counter
    if device.type == "cuda":
        counters["allocated memory"] = peak_allocated_bytes
    for quantity, count in counters.items():
        peaks = {}
        for name, subject in subjects.items():
            try:
                peaks[name] = [float(count(subject.step, subject.held, device))]
            except Exception as error:  # forward-mode derivatives under autocast do not go through a dispatch mode
                failed[f"{quantity} of {name}"] = _reason(error)
        over = {name: baselines[name] if baselines[name] in peaks else None for name in peaks}
        records += make_records(under, quantity, "bytes", peaks, over)
    return Measured(records, failed)


def warm_up(subject: Subject | Bare, device: torch.device) -> str | None:
    """Take the first steps; the reason on one line if they fail: not everything runs compiled or in bf16."""
    try:
        for _ in range(WARMUP):
            subject.step()
        wait_for(device)
    except Exception as error:
        return _reason(error)
    return None


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {one_line(error)}"[:300]
