"""``noisybench data …``: look at a dataset's files before training on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look at a dataset's files: what is there, what is missing.", rich_markup_mode=None)

Name = Annotated[str, typer.Argument(help="A name from `noisybench datasets`, imagefolder:PATH or csv:FILE.")]
DataPath = Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")]


@app.command(
    help="Say what is there, what is missing, and which images do not decode; exit code 2 if anything is wrong.",
    epilog="Example: noisybench data verify clothing1m --data-path clothing1M/",
)
def verify(name: Name, data_path: DataPath = None) -> None:
    from noisybench.cli.data_report import verify as look

    if not look(name, data_path):
        raise typer.Exit(2)


@app.command(
    help="Show class counts and the label order's fingerprint, and write a contact sheet.",
    epilog="Example: noisybench data info cifar10 --data-path cifar10/ --output sheet.png",
)
def info(
    name: Name,
    data_path: DataPath = None,
    output: Annotated[Path | None, typer.Option(help="The contact sheet. [default: NAME-sheet.png]")] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is no contact sheet.")] = False,
) -> None:
    from noisybench.cli.data_report import info as show

    show(name, data_path, output, force=force)
