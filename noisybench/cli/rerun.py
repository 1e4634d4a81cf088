"""``noisybench rerun``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

HELP = (
    "Run a record's configuration again in a new folder, and compare. Prints the command first. Exit code 1 if the "
    "result lies outside the tolerance."
)
EXAMPLE = "Example: noisybench rerun leaderboards/digits-quick/runs/01661df62c498d0b.json --print"

DataPath = Annotated[Path | None, typer.Option(help="Folder with the dataset's files: records hold no paths.")]
NoiseFiles = Annotated[
    list[Path] | None,
    typer.Option("--noise-file", help="File of a noise model; each run takes the one with its record's hash."),
]
Weights = Annotated[Path | None, typer.Option(help="File of weights that runs start from.")]
CleanLabels = Annotated[Path | None, typer.Option(help="CSV of checked images.")]
Tolerance = Annotated[
    float, typer.Option(min=0, max=1, help="Of test accuracy by any selection rule, as a fraction, where bits differ.")
]
ImportMethods = Annotated[
    bool, typer.Option("--import-methods", help="Import modules that records name as methods: they run as code.")
]


def rerun(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="A record, or the output folder of a finished run.")],
    data_path: DataPath = None,
    noise_file: NoiseFiles = None,
    weights: Weights = None,
    clean_labels: CleanLabels = None,
    output: Annotated[Path | None, typer.Option(help="A new folder. [default: runs/rerun/RUN_ID]")] = None,
    tolerance: Tolerance = 0.01,
    import_methods: ImportMethods = False,
    only_print: Annotated[bool, typer.Option("--print", help="Print the command and stop.")] = False,
) -> None:
    from noisybench.bench.rerun import Files, command_of, config_again, refuse_foreign_code
    from noisybench.core.console import console, say
    from noisybench.core.errors import UserError
    from noisybench.leaderboard.store import record_file
    from noisybench.leaderboard.verifications import compared, fault_of
    from noisybench.spec.record import RunRecord

    source = record_file(record)
    old = RunRecord.load(source)
    fault = fault_of(old)
    if fault is not None:
        raise UserError(f"{source}: {fault}")
    refuse_foreign_code([old], allowed=import_methods)
    folder = output if output is not None else Path("runs") / "rerun" / old.run_id
    if folder.exists() and not only_print:
        raise UserError(f"{folder}: is there already; name a new folder by --output")
    config = config_again(old, Files(data_path, noise_file or [], weights, clean_labels), folder)
    command = command_of(config)
    say(command if command is not None else "no command line says all of its configuration; it is run from the record")
    if only_print:
        return

    import noisybench
    from noisybench.train.progress import ConsoleProgress

    new = noisybench.run(config, progress=ConsoleProgress(console(outlives_reader=True)))
    found = compared(old, new, tolerance)
    say(f"run {old.run_id}: {found.line}")
    if found.differs:
        say(f"not bit-equal: {', '.join(found.differs)}")
    raise typer.Exit(1 if found.outcome == "outside" else 0)
