"""`python -m benchmarks …`: how fast things are, beside what they are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noisybench.core.errors import UserError

if TYPE_CHECKING:
    from benchmarks.perf.problem import Size
    from benchmarks.perf.records import JsonFile, Record

app = typer.Typer(
    help="Measure speed and memory beside what they are compared with: taken in turns within one process, medians "
    "with quartiles.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[str, typer.Option(help="Any timm name.")]
Methods = Annotated[str, typer.Option(help="Names separated by commas, with settings as in mslg[engine=head].")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Images of a step. [default: 128; 32 above 64×64 pixels]")]
Classes = Annotated[int, typer.Option(min=2, help="Classes.")]
ImageSize = Annotated[int | None, typer.Option(min=4, help="Side in pixels. [default: the model's]")]
Precision = Annotated[str, typer.Option(help="fp32, or bf16 (autocast).")]
ChannelsLast = Annotated[bool, typer.Option("--channels-last", help="Lay networks and images out so.")]
Repeats = Annotated[int, typer.Option(min=1, help="Measurements of each.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. [default: a GPU if there is one]")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of one operator. [default: torch's]")]
Json = Annotated[Path | None, typer.Option("--json", help="Append the records to this file.")]


@app.command(
    help="Step time and peak memory of methods, and of MSLG's engines, over a bare hand-written cross-entropy step. "
    "Exit code 1 if something cannot be measured.",
    epilog="Example: python -m benchmarks steps --model noisybench_resnet18 --methods ce,mslg,'mlnt[order=first]'",
)
def steps(
    model: Model = "noisybench_cnn8",
    batch_size: BatchSize = None,
    classes: Classes = 10,
    image_size: ImageSize = None,
    methods: Annotated[
        str | None,
        typer.Option(help="Names separated by commas, with settings as in mslg[kappa=2;engine=head]. [default: all]"),
    ] = None,
    engines: Annotated[
        str | None,
        typer.Option(help="Of plain mslg: jvp,head,finite-difference,double-backward (the authors'). [default: all]"),
    ] = None,
    precision: Precision = "fp32",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the networks.")] = False,
    channels_last: ChannelsLast = False,
    plain_allocator: Annotated[
        bool,
        typer.Option(
            "--plain-allocator",
            help="On a CPU, where runs keep freed memory: all steps also in a process that does not, in turns.",
        ),
    ] = False,
    repeats: Repeats = 20,
    device: Device = None,
    threads: Threads = None,
    json: Json = None,
) -> None:
    _check_precision(precision)
    import torch

    from benchmarks.perf.hardware import measuring_device
    from benchmarks.perf.plain_allocator import PlainProcess
    from benchmarks.perf.records import JsonFile
    from benchmarks.perf.steps import StepsAsked, measure_steps
    from benchmarks.perf.subjects import variants

    file, chosen = JsonFile(json), variants(methods, engines)
    measured_on = measuring_device(device, threads)
    asked = StepsAsked(
        chosen=tuple(chosen),
        size=_size(model, batch_size, classes, image_size),
        threads=torch.get_num_threads(),
        precision=precision,
        compiled=compiled,
        channels_last=channels_last,
    )
    if plain_allocator:
        with PlainProcess(asked) as process:
            found = measure_steps(asked, measured_on, repeats=repeats, beside=process.timers)
            found.failed.update(process.failed)
    else:
        found = measure_steps(asked, measured_on, repeats=repeats)
    _give(found.records, file)
    _tell_failed(found.failed)


@app.command(
    help="Samples per second of the resident and the streaming loader, over torchvision's transforms on PIL images in "
    "a DataLoader: 32×32 images, random crop, flip, normalisation.",
    epilog="Example: python -m benchmarks loaders --images 10000,50000 --workers 0,2,8 --json perf.json",
)
def loaders(
    images: Annotated[str, typer.Option(metavar="N,N…", help="Images of a pass, each measured.")] = "10000",
    batch_size: Annotated[int, typer.Option(min=1, help="Images of a batch.")] = 128,
    workers: Annotated[
        str | None, typer.Option(metavar="N,N…", help="Numbers of worker processes. [default: 0 and the cores]")
    ] = None,
    repeats: Repeats = 5,
    device: Device = None,
    threads: Threads = None,
    json: Json = None,
) -> None:
    sizes = _numbers("--images", images, least=10)
    counts = None if workers is None else _numbers("--workers", workers, least=0)
    from benchmarks.perf.hardware import measuring_device
    from benchmarks.perf.loaders import measure_loaders
    from benchmarks.perf.records import JsonFile
    from noisybench.core.machine import cores

    file, measured_on = JsonFile(json), measuring_device(device, threads)
    counts = counts or [0, cores()]
    _give(measure_loaders(measured_on, images=sizes, batch_size=batch_size, workers=counts, repeats=repeats), file)


@app.command(
    help="An epoch of cross-entropy as a run trains it, over a bare loop with the same pixels and augmentation.",
    epilog="Example: python -m benchmarks epoch --images 2560,10000 --repeats 5",
)
def epoch(
    model: Model = "noisybench_cnn8",
    images: Annotated[str, typer.Option(metavar="N,N…", help="Images of an epoch, each measured.")] = "2560",
    batch_size: BatchSize = None,
    image_size: ImageSize = None,
    repeats: Repeats = 5,
    device: Device = None,
    threads: Threads = None,
    json: Json = None,
) -> None:
    counts = _numbers("--images", images, least=10)
    from benchmarks.perf.epoch import measure_epoch
    from benchmarks.perf.hardware import measuring_device
    from benchmarks.perf.records import JsonFile

    file, measured_on = JsonFile(json), measuring_device(device, threads)
    sizes = [_size(model, batch_size, 10, image_size, rows=count) for count in counts]
    records = measure_epoch(sizes, measured_on, repeats=repeats)
    _give(records, file)
    for record in records:
        if record.ratio is not None:
            of_size = f", {record.setup['images']:,} images" if len(sizes) > 1 else ""
            print(f"overhead of the framework{of_size}: {100 * (record.ratio - 1):+.1f} %")


@app.command(
    help="Methods' steps over batch sizes and numbers of classes, each beside the bare loop; MSLG's label rows and "
    "step over the size of the train set. Exit code 1 if something cannot be measured.",
    epilog="Example: python -m benchmarks scaling --methods ce,mslg,co-teaching --rows 10000,100000,1000000",
)
def scaling(
    model: Model = "noisybench_cnn8",
    methods: Methods = "ce,mslg",
    rows: Annotated[str, typer.Option(metavar="N,N…", help="Rows of the train set.")] = "10000,100000,1000000",
    batch_size: BatchSize = None,
    classes: Classes = 100,
    batch_sizes: Annotated[str, typer.Option(metavar="N,N…", help="Batch sizes to compare.")] = "32,64,128,256",
    class_counts: Annotated[str, typer.Option(metavar="N,N…", help="Numbers of classes to compare.")] = "10,100,1000",
    image_size: ImageSize = None,
    repeats: Repeats = 10,
    device: Device = None,
    threads: Threads = None,
    json: Json = None,
) -> None:
    row_counts = _numbers("--rows", rows, least=1)
    batches = _numbers("--batch-sizes", batch_sizes, least=2)
    counts = _numbers("--class-counts", class_counts, least=2)
    from benchmarks.perf.hardware import hardware, measuring_device
    from benchmarks.perf.records import JsonFile
    from benchmarks.perf.scaling import measure_rows, measure_sizes
    from benchmarks.perf.subjects import named

    chosen = named(methods)
    size = _size(model, batch_size, classes, image_size)
    if min(row_counts) < max(size.batch_size, classes):
        raise UserError(f"--rows {rows}: at least a batch of {size.batch_size} and one row for each class are needed")
    file, measured_on = JsonFile(json), measuring_device(device, threads)
    machine = hardware(measured_on)
    records = measure_rows(size, measured_on, machine, rows=row_counts, repeats=repeats)
    sizes = [_size(model, batch, classes, image_size) for batch in batches]
    sizes += [_size(model, size.batch_size, count, image_size) for count in counts]
    found = measure_sizes(chosen, list(dict.fromkeys(sizes)), measured_on, machine, repeats=repeats)
    _give(records + found.records, file)
    _tell_failed(found.failed)


@app.command(
    help="Minutes of a run, and samples per second of several runs that share the device: each a process of its own, "
    "measured over a few steps of every phase, not in turns; on a GPU also how busy it is, as nvidia-smi says. Exit "
    "code 1 if something cannot be measured.",
    epilog="Example: python -m benchmarks runs --methods ce,mslg --together 1,2,4,8 --json perf.json",
)
def runs(
    methods: Methods = "ce,mslg",
    model: Model = "noisybench_cnn8",
    batch_size: BatchSize = None,
    classes: Classes = 10,
    image_size: ImageSize = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Images of an epoch. [default: 45000, CIFAR-10's without held-out parts]")
    ] = None,
    evaluated: Annotated[
        int | None,
        typer.Option(min=0, help="Images evaluated after an epoch. [default: 11000, CIFAR-10's test and validation]"),
    ] = None,
    epochs_of_run: Annotated[
        int | None, typer.Option(min=1, help="Epochs that the minutes are for. [default: 120, CIFAR-10's]")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Training steps of one measurement. [default: 1000 on a GPU, else 10]")
    ] = None,
    together: Annotated[
        str, typer.Option(metavar="N,N…", help="Numbers of runs at once, compared with the smallest.")
    ] = "1,2",
    precision: Precision = "fp32",
    channels_last: ChannelsLast = False,
    repeats: Repeats = 3,
    device: Device = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of each run. [default: torch's, shared out among the runs]")
    ] = None,
    json: Json = None,
) -> None:
    _check_precision(precision)
    counts = _numbers("--together", together, least=1)
    from benchmarks.perf.hardware import measuring_device
    from benchmarks.perf.records import JsonFile
    from benchmarks.perf.runs import Procedure, RunLength, cifar10_run, measure_runs
    from benchmarks.perf.subjects import named

    usual, chosen = cifar10_run(), named(methods)
    length = RunLength(
        epochs=epochs_of_run or usual.epochs,
        images=images or usual.images,
        evaluated=usual.evaluated if evaluated is None else evaluated,
    )
    size = _size(model, batch_size, classes, image_size, rows=length.images)
    if length.images < max(size.batch_size, classes):
        raise UserError(f"--images {images}: at least a batch of {size.batch_size} and one of each class are needed")
    file, measured_on = JsonFile(json), measuring_device(device, threads)
    found = measure_runs(
        chosen,
        size,
        length,
        measured_on,
        Procedure(
            together=counts,
            steps=steps or (1000 if measured_on.type == "cuda" else 10),
            repeats=repeats,
            threads=threads,
            precision=precision,
            channels_last=channels_last,
        ),
    )
    _give(found.records, file)
    for note in found.notes:
        print(note)
    _tell_failed(found.failed)


def _check_precision(precision: str) -> None:
    if precision not in ("fp32", "bf16"):
        raise UserError(f"--precision {precision}: choose fp32 or bf16")


def _numbers(option: str, text: str, *, least: int) -> list[int]:
    """Numbers separated by commas."""
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"{option} {text}: write whole numbers separated by commas") from error
    if min(numbers) < least or len(set(numbers)) < len(numbers):
        raise UserError(f"{option} {text}: write different numbers of at least {least}")
    return numbers


def _size(model: str, batch_size: int | None, classes: int, image_size: int | None, rows: int | None = None) -> Size:
    from benchmarks.perf.problem import BATCHES_HELD, Size, image_side

    side = image_size or image_side(model)
    batch = batch_size or (128 if side <= 64 else 32)
    return Size(model, batch, classes, side, rows=rows or max(BATCHES_HELD * batch, classes))


def _give(records: list[Record], file: JsonFile) -> None:
    """Print what was found, then file it."""
    from benchmarks.perf.show import print_records
    from noisybench.core.console import console

    print_records(records, console())
    file.append(records)


def _tell_failed(failed: dict[str, str]) -> None:
    """Say what was not measured, one line each, and end with exit code 1 if there is any."""
    for name, reason in failed.items():
        print(f"not measured: {name}: {reason}")
    if failed:
        raise typer.Exit(1)


@app.command(
    help="Print the records of files as Markdown tables.", epilog="Example: python -m benchmarks report perf.json"
)
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Written by --json.")],
) -> None:
    from benchmarks.perf.show import report as as_markdown

    print(as_markdown(files))
