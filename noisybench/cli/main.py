"""The command line. Commands are thin: each calls one function. ``--help`` imports no torch."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from noisybench.cli import bench as cli_bench
from noisybench.cli import data as cli_data
from noisybench.cli import features as cli_features
from noisybench.cli import leaderboard as cli_leaderboard
from noisybench.cli import noise as cli_noise
from noisybench.cli import rerun as cli_rerun
from noisybench.cli import run as cli_run
from noisybench.core.console import complain
from noisybench.core.errors import ProcessLost, RunStopped, SaidElsewhere, UserError
from noisybench.parallel.environment import is_first, told_by_another
from noisybench.parallel.launch import STARTED, STOPPED, resume_command

app = typer.Typer(
    help="Methods for learning with noisy labels, run under one protocol and compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _listing(kind: str, title: str) -> typer.Typer:
    listing = typer.Typer(help=f"List the {title}, or show one.", invoke_without_command=True, rich_markup_mode=None)
    app.add_typer(listing, name=f"{kind}s")

    @listing.callback()
    def list_all(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            from noisybench.cli import listings

            listings.print_list(kind)

    @listing.command("show", help="Show one card: source, information used, settings.")
    def show(name: Annotated[str, typer.Argument(help="A name from the list.")]) -> None:
        from noisybench.cli import listings

        listings.print_card(kind, name)

    return listing


app.add_typer(cli_data.app, name="data")
_listing("method", "methods")
_listing("dataset", "datasets")
_listing("model", "models (noisybench's own; --model takes any timm name too)")
_listing("noise", "noise models")
_listing("layout", "dataset layouts")
_listing("augmentation", "augmentations")
_listing("tracker", "trackers")
_listing("schedule", "learning-rate schedules")
app.add_typer(cli_noise.app, name="noise")
app.add_typer(cli_bench.app, name="bench")
app.command("run", help=cli_run.HELP, epilog=cli_run.EXAMPLE)(cli_run.run)
app.command("rerun", help=cli_rerun.HELP, epilog=cli_rerun.EXAMPLE)(cli_rerun.rerun)
app.command("features", help=cli_features.HELP, epilog=cli_features.EXAMPLE)(cli_features.features)


@app.command(
    help="Check the whole contract of a method on synthetic data, in seconds. Exit code 1 if a check fails.",
    epilog="Example: noisybench check my_package.module:MyMethod --set method.warmup_epochs=1",
)
def check(
    method: Annotated[
        str | None, typer.Argument(help="A name from `noisybench methods`, or package.module:Class.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Check every registered method.")] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A setting for the check.")
    ] = None,
) -> None:
    from noisybench.conformance import print_check, print_check_all

    if every == (method is not None) or (every and overrides):
        raise UserError("check: give one method (and any --set), or --all alone")
    passed = print_check_all() if method is None else print_check(method, overrides or [])
    raise typer.Exit(0 if passed else 1)


@app.command(
    "new-method",
    help="Write the package of a new method: one module, one card, one test. It installs and passes `check` as it is.",
    epilog="Example: noisybench new-method my-loss && pip install -e noisybench-my-loss && noisybench check my-loss",
)
def new_method(
    name: Annotated[str, typer.Argument(help="The method's name: small letters, digits and single hyphens.")],
    output: Annotated[Path | None, typer.Option(help="Folder to make. [default: noisybench-NAME]")] = None,
) -> None:
    from noisybench.skeleton import write_skeleton

    print(write_skeleton(name, output))


app.add_typer(cli_leaderboard.app, name="leaderboard")
app.command(help="Put runs side by side: configuration, noise and split, metrics.")(cli_leaderboard.compare)


def main(commands: typer.Typer = app) -> None:
    """Run the command line (or another set of commands): a user's error is one line and exit code 2."""
    for stream in (sys.stdout, sys.stderr):  # a character that a stream's encoding lacks is shown by its number
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    # `package.module:Class` is found below the working directory too, after everything that is installed.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    # torch's forward-mode formulas still use torch.jit inside; a user can do nothing about it.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
    try:
        commands()
    except SaidElsewhere:
        sys.exit(2)
    except UserError as error:
        if not (_told_elsewhere(error) or (isinstance(error, ProcessLost) and STARTED in os.environ)):
            complain(f"noisybench: {error}")
        sys.exit(1 if isinstance(error, ProcessLost) else 2)
    except RunStopped as stop:
        if is_first():  # of several processes one tells
            complain(f"noisybench: {stop}; go on with: {resume_command(sys.argv)}")
        sys.exit(STOPPED)


def _told_elsewhere(error: UserError) -> bool:
    """Whether the first process of this launcher on this machine tells the same: an error in the command itself."""
    return told_by_another() and not error.told_once


if __name__ == "__main__":
    main()
