"""The command line. Commands are thin: each calls one function. ``--help`` imports no torch."""

from __future__ import annotations

import io
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from noisybench.cli import bench as cli_bench
from noisybench.cli import data as cli_data
from noisybench.cli import features as cli_features
from noisybench.cli import leaderboard as cli_leaderboard
from noisybench.cli import noise as cli_noise
from noisybench.cli import rerun as cli_rerun
from noisybench.cli import run as cli_run
from noisybench.cli import tune as cli_tune
from noisybench.core.console import complain
from noisybench.core.errors import ProcessLost, RunStopped, SaidElsewhere, UserError, one_line
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
app.command("tune", help=cli_tune.HELP, epilog=cli_tune.EXAMPLE)(cli_tune.tune)
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
    frozen: Annotated[
        bool, typer.Option("--frozen", help="Check it as what trains a head on a frozen model's features.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(help="Also train in so many connected processes (on CPUs) and compare with one.")
    ] = None,
    compare_in: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    from noisybench.conformance import AS_FROZEN, compare_processes, print_check, print_check_all

    if every == (method is not None) or (every and (overrides or processes)):
        raise UserError("check: give one method (and any --set and --processes), or --all alone (or with --frozen)")
    settings = [*(AS_FROZEN if frozen else []), *(overrides or [])]
    if compare_in is not None and method is not None:  # one of the processes that --processes started
        compare_processes(method, settings, compare_in)
        return
    passed = print_check_all(settings) if method is None else print_check(method, settings, processes)
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
    try:
        here = os.getcwd()
    except OSError:
        complain("noisybench: the working directory does not exist any more: change to one that does")
        sys.exit(2)
    # `package.module:Class` is found below the working directory too, after everything that is installed.
    if here not in sys.path:
        sys.path.append(here)
    # torch's forward-mode formulas still use torch.jit inside; a user can do nothing about it.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
    try:
        # Not standalone: click would tell what is wrong with an option in four lines.
        sys.exit(commands(standalone_mode=False))
    except USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            error.show()
        else:
            complain(f"noisybench: {one_line(error.format_message())}{_help_for(error.ctx)}")
        sys.exit(2)
    except typer.Abort:
        complain("noisybench: aborted")
        sys.exit(1)
    except SaidElsewhere:
        sys.exit(2)
    except UserError as error:
        if not (_told_elsewhere(error) or (isinstance(error, ProcessLost) and STARTED in os.environ)):
            complain(f"noisybench: {error}")
        sys.exit(1 if isinstance(error, ProcessLost) else 2)
    except OSError as error:
        if error.filename is None:  # not of a file that the user named or that lies where they said
            raise
        complain(f"noisybench: {error.filename!s:.200}: {(error.strerror or one_line(error)).lower()}")
        sys.exit(2)
    except RunStopped as stop:
        if is_first():  # of several processes one tells
            complain(f"noisybench: {stop}; go on with: {resume_command(sys.argv)}")
        sys.exit(STOPPED)


# Typer has click in it or beside it, by its version; what it says is wrong with an option is this one's all the same.
USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


def _help_for(context: typer.Context | None) -> str:
    return "" if context is None else f" (see `{context.command_path} --help`)"


def _told_elsewhere(error: UserError) -> bool:
    """Whether the first process of this launcher on this machine tells the same: an error in the command itself."""
    return told_by_another() and not error.told_once


if __name__ == "__main__":
    main()
