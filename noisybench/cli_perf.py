"""`noisybench perf …`: how fast things are, beside what they are compared with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from noisybench.errors import UserError

if TYPE_CHECKING:
    from noisybench.perf.records import JsonFile, Record

app = typer.Typer(
    help="Measure speed and memory beside what they are compared with: taken in turns within one process, medians "
    "with quartiles.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Model = Annotated[str, typer.Option(help="Any timm name.")]
BatchSize = Annotated[int | None, typer.Option(min=2, help="Images of a step. [default: 128; 32 above 64×64 pixels]")]
Classes = Annotated[int, typer.Option(min=2, help="Classes.")]
ImageSize = Annotated[int | None, typer.Option(min=4, help="Side in pixels. [default: the model's]")]
Repeats = Annotated[int, typer.Option(min=1, help="Measurements of each.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda. [default: a GPU if there is one]")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads of one operator. [default: torch's]")]
Json = Annotated[Path | None, typer.Option("--json", help="Append the records to this file.")]


@app.command(
    help="Step time and peak memory of methods, and of MSLG's engines, over a bare hand-written cross-entropy step. "
    "Exit code 1 if something does not run.",
    epilog="Example: noisybench perf steps --model noisybench_resnet18 --methods ce,mslg,'mlnt[order=first]'",
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
    precision: Annotated[str, typer.Option(help="fp32, or bf16 (autocast).")] = "fp32",
    compiled: Annotated[bool, typer.Option("--compile", help="Compile the networks.")] = False,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="Lay networks and images out so.")] = False,
    repeats: Repeats = 20,
    device: Device = None,
    threads: Threads = None,
    json: Json = None,
) -> None:
    if precision not in ("fp32", "bf16"):
        raise UserError(f"--precision {precision}: choose fp32 or bf16")
    from noisybench.perf.hardware import measuring_device
    from noisybench.perf.records import JsonFile
    from noisybench.perf.steps import measure_steps
    from noisybench.perf.subjects import variants

    file, measured_on, chosen = JsonFile(json), measuring_device(device, threads), variants(methods, engines)
    found = measure_steps(
        chosen,
        _size(model, batch_size, classes, image_size),
        measured_on,
        repeats=repeats,
        precision=precision,
        compiled=compiled,
        channels_last=channels_last,
    )
    _give(found.records, file)
    for name, reason in found.failed.items():
        print(f"{name} does not run so: {reason}")
    if found.failed:
        raise typer.Exit(1)


def _size(model: str, batch_size: int | None, classes: int, image_size: int | None):
    from noisybench.perf.problem import BATCHES_HELD, Size, image_side

    side = image_size or image_side(model)
    batch = batch_size or (128 if side <= 64 else 32)
    return Size(model, batch, classes, side, rows=max(BATCHES_HELD * batch, classes))


def _give(records: list[Record], file: JsonFile) -> None:
    """Print what was found, then file it."""
    from noisybench.perf.show import print_records
    from noisybench.progress import console

    print_records(records, console())
    file.append(records)


@app.command(help="Print the records of files as Markdown tables.", epilog="Example: noisybench perf report perf.json")
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="Written by --json.")],
) -> None:
    from noisybench.perf.show import report as as_markdown

    print(as_markdown(files))
