"""How long a run takes, and how much more gets done when several share one device."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from benchmarks.perf.gpu import GpuUse, GpuWatch, ask, gpu_name
from benchmarks.perf.hardware import hardware
from benchmarks.perf.problem import Size
from benchmarks.perf.records import Circumstances, Hardware, Record, make_records
from benchmarks.perf.steps import LAYOUTS
from benchmarks.perf.stretches import EVALUATION, MAIN, WARM_UP, Assignment, Stretch, build, stretches
from benchmarks.perf.subjects import Variant
from benchmarks.perf.together import Crew, ProcessFailed
from noisybench.bench.plan import train_size
from noisybench.core.errors import UserError
from noisybench.spec import registry
from noisybench.spec.layers import resolve_dict

NO_GPU = "not measured: GPU busy, GPU memory in use"
CPU = torch.device("cpu")
Setup = dict[str, str | int | bool]


@dataclass(frozen=True)
class RunLength:
    """What one run is made of.

    Attributes:
        epochs: of training.
        images: in an epoch.
        evaluated: after each epoch.
    """

    epochs: int
    images: int
    evaluated: int


def cifar10_run() -> RunLength:
    """A run on CIFAR-10 under the sealed protocol, by the dataset's card."""
    config = resolve_dict({"method": "ce", "dataset": "cifar10"})
    evaluated = registry.dataset_card("cifar10").test_size + config.noisy_val_size + config.clean_val_size
    images = train_size(config)
    assert images is not None  # it is on the card
    return RunLength(config.epochs, images, evaluated)


def warm_up_epochs(method: str, epochs: int) -> int:
    """How many epochs of a run are the method's warm-up: the part that they are in its recipe for CIFAR-10, rounded.

    It is what a setting named ``warmup_epochs`` says; a method without one is taken to train all epochs alike.
    """
    recipe = resolve_dict({"method": method, "dataset": "cifar10"})
    warmup = min(recipe.settings.get("warmup_epochs", 0), recipe.epochs)
    return round(epochs * warmup / recipe.epochs)


def phases_of(method: str, length: RunLength) -> dict[str, int]:
    """How many epochs of a run are of each phase, or are followed by it; a phase of none is left out."""
    warmup = warm_up_epochs(method, length.epochs)
    evaluations = length.epochs if length.evaluated else 0
    phases = {WARM_UP: warmup, MAIN: length.epochs - warmup, EVALUATION: evaluations}
    return {phase: epochs for phase, epochs in phases.items() if epochs}


@dataclass(frozen=True)
class Round:
    """A stretch of all processes at once.

    Attributes:
        seconds: from when all were ready to the end of the last one.
        stretches: of each process.
        gpu: what was seen of the GPU meanwhile; None where nothing was.
    """

    seconds: float
    stretches: list[Stretch]
    gpu: GpuUse | None = None

    @property
    def samples_per_second(self) -> float:
        """Of all processes together."""
        return sum(stretch.samples for stretch in self.stretches) / self.seconds

    @property
    def epoch_seconds(self) -> float:
        """Of one process's whole epoch at this speed: the mean over the processes."""
        return statistics.fmean(stretch.epoch_seconds for stretch in self.stretches)


@dataclass(frozen=True)
class RunsMeasured:
    """What was found.

    Attributes:
        records: of everything that ran.
        failed: the reason by name, of what did not run.
        notes: what else was not measured, and why; a line each.
    """

    records: list[Record]
    failed: dict[str, str]
    notes: list[str]


@dataclass(frozen=True)
class Procedure:
    """How runs are measured.

    Attributes:
        together: numbers of processes at once. The smallest is what the others are compared with.
        steps: of training in a stretch.
        repeats: stretches of each phase.
        threads: of each process; None for torch's number divided by the number of processes, at least 1.
        precision: fp32 or bf16.
        channels_last: whether images and weights lie so in memory.
    """

    together: list[int]
    steps: int
    repeats: int
    threads: int | None = None
    precision: str = "fp32"
    channels_last: bool = False


def measure_runs(
    chosen: list[Variant], size: Size, length: RunLength, device: torch.device, procedure: Procedure
) -> RunsMeasured:
    """Stretches of runs, each a process of its own, for each method and each number of processes at once.

    A method's warm-up, its main phase (its last) and evaluation are measured one after another; in each, all processes
    start together. Minutes of a run are the sum over the phases of epochs × seconds of an epoch, extrapolated from the
    stretch. Loading data, checkpoints and label metrics are not in it.

    Args:
        size: of the problem; its rows are the images of an epoch.

    Raises:
        UserError: a method cannot be built, or stands for another code's step; nothing was measured.
    """
    machine = hardware(device)
    assignments = []
    for variant in chosen:
        if variant.reference is not None:
            raise UserError(f"--methods {variant.name}: only a method's own step trains whole runs; leave it out")
        assignment = Assignment(
            variant,
            size,
            phases_of(variant.method, length),
            steps=procedure.steps,
            evaluated=length.evaluated,
            repeats=procedure.repeats,
            device=device.type,
            threads=procedure.threads or torch.get_num_threads(),
            precision=procedure.precision,
            channels_last=procedure.channels_last,
        )
        small = replace(size, rows=max(size.batch_size, size.classes))
        build(replace(assignment, size=small, precision="fp32"), CPU)  # what cannot be built, ends here
        assignments.append(assignment)

    watch, notes = watch_of(device)
    records, failed = [], {}
    setup: Setup = {
        "model": size.model,
        "batch": size.batch_size,
        "classes": size.classes,
        "image": size.side,
        "images": size.rows,
        "evaluated": length.evaluated,
        "precision": procedure.precision,
        "layout": LAYOUTS[procedure.channels_last],
        "steps measured": procedure.steps,
        "threads of a run": "all, shared out" if procedure.threads is None else procedure.threads,
    }
    for assignment in assignments:
        name = assignment.variant.name
        found: dict[int, dict[str, list[Round]]] = {}
        for number in sorted(procedure.together):
            share = assignment
            if procedure.threads is None:
                share = replace(assignment, threads=max(1, assignment.threads // number))
            try:
                found[number] = measure_together(share, number, watch)
            except ProcessFailed as error:
                failed[f"{name}, {count_name(number)}"] = str(error)
                break  # more of them would fail too
        if found:
            records += run_records(found, assignment.phases, {**setup, "method": name}, machine)
    if watch is not None:
        notes += [f"{NO_GPU}: {reason}" for reason in dict.fromkeys(watch.missed)]
    return RunsMeasured(records, failed, notes)


def watch_of(device: torch.device) -> tuple[GpuWatch | None, list[str]]:
    """What watches a device, and a line that says why where nothing can watch a GPU."""
    if device.type != "cuda":
        return None, []
    gpu = gpu_name(device)
    try:
        ask(gpu)
    except UserError as error:
        return None, [f"{NO_GPU}: {error}"]
    return GpuWatch(gpu), []


def measure_together(assignment: Assignment, number: int, watch: GpuWatch | None) -> dict[str, list[Round]]:
    """``assignment.repeats`` rounds of each phase, by its name.

    The GPU is not watched in evaluation, which is over before nvidia-smi could say anything.

    Raises:
        ProcessFailed: a process raised or died; all are ended.
    """
    watches = {phase: None if phase == EVALUATION else watch for phase in assignment.phases}
    with Crew(stretches, assignment, number) as crew:
        return {phase: [meet(crew, watches[phase]) for _ in range(assignment.repeats)] for phase in assignment.phases}


def meet(crew: Crew, watch: GpuWatch | None, clock: Callable[[], float] = time.perf_counter) -> Round:
    """One round: wait until all are ready, start them, wait for the last one."""
    crew.wait_until_ready()
    with watch or contextlib.nullcontext():
        started = clock()
        found = crew.work()
        seconds = clock() - started
    return Round(seconds, found, watch.use if watch is not None else None)


def run_records(
    found: dict[int, dict[str, list[Round]]], phases: dict[str, int], setup: Setup, machine: Hardware
) -> list[Record]:
    """The records of one method.

    Args:
        found: rounds by number of processes and phase.
        phases: how many epochs of a run each is.
    """
    names = {count_name(number): rounds for number, rounds in found.items()}
    first = count_name(min(found))
    baselines = {name: None if name == first else first for name in names}
    alone = dict.fromkeys(names)  # compared with nothing: a GPU may be idle
    records = []
    for phase in phases:
        of_phase = Circumstances("runs", {**setup, "phase": phase}, machine)
        rounds = {name: each[phase] for name, each in names.items()}

        def values(of_round: Callable[[Round], float], rounds=rounds) -> dict[str, list[float]]:
            return {name: [of_round(each) for each in several] for name, several in rounds.items()}

        rates, times = values(lambda each: each.samples_per_second), values(lambda each: each.epoch_seconds)
        records += make_records(of_phase, "samples per second", "samples/s", rates, baselines)
        records += make_records(of_phase, "time of an epoch", "s", times, baselines)
        if all(each.gpu is not None for several in rounds.values() for each in several):
            busy, memory = values(lambda each: each.gpu.busy), values(lambda each: float(each.gpu.memory))
            records += make_records(of_phase, "GPU busy", "share", busy, alone)
            records += make_records(of_phase, "GPU memory in use", "bytes", memory, alone)
    minutes = {name: run_minutes(each, phases) for name, each in names.items()}
    warmup = phases.get(WARM_UP, 0)
    of_run = {**setup, "epochs": warmup + phases.get(MAIN, 0), "epochs of warm-up": warmup}
    return records + make_records(Circumstances("runs", of_run, machine), "minutes per run", "min", minutes, baselines)


def run_minutes(rounds: dict[str, list[Round]], phases: dict[str, int]) -> list[float]:
    """Minutes of one whole run by the first round of every phase, by the second of every phase, and so on.

    Args:
        rounds: by phase.
        phases: how many epochs of a run each is.
    """
    return [
        sum(epochs * each.epoch_seconds for epochs, each in zip(phases.values(), together, strict=True)) / 60
        for together in zip(*(rounds[phase] for phase in phases), strict=True)
    ]


def count_name(number: int) -> str:
    """What so many runs on one device are called."""
    return "1 run" if number == 1 else f"{number} runs at once"
