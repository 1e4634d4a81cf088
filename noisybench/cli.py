"""The command line. Commands are thin: each calls one function. ``--help`` imports no torch."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer

from noisybench import cli_bench, cli_data, cli_leaderboard, cli_noise, cli_perf
from noisybench.errors import ProcessLost, RunStopped, SaidElsewhere, UserError

app = typer.Typer(
    help="Methods for learning with noisy labels, run under one protocol and compared.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _listing(kind: str, title: str) -> typer.Typer:
    listing = typer.Typer(help=f"List the {title}, or show one.", invoke_without_command=True, rich_markup_mode=None)
    app.add_typer(listing, name=kind)

    @listing.callback()
    def list_all(context: typer.Context) -> None:
        if context.invoked_subcommand is None:
            from noisybench import listings

            listings.print_list(kind)

    @listing.command("show", help="Show one card: source, information used, settings.")
    def show(name: Annotated[str, typer.Argument(help="A name from the list.")]) -> None:
        from noisybench import listings

        listings.print_card(kind, name)

    return listing


app.add_typer(cli_data.app, name="data")
_listing("methods", "methods")
_listing("datasets", "datasets")
_listing("models", "models (noisybench's own; --model takes any timm name too)")
_listing("noises", "noise models")
app.add_typer(cli_noise.app, name="noise")
app.add_typer(cli_bench.app, name="bench")
app.add_typer(cli_perf.app, name="perf")


@app.command(
    help="Train and evaluate one method under the protocol, and write its record.",
    epilog="Example: noisybench run --method mslg --noise symmetric --noise-rate 0.6 --seed 1",
)
def run(
    method: Annotated[str | None, typer.Option(help="A name from `noisybench methods`. [default: ce]")] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="A name from `noisybench datasets`, imagefolder:PATH or csv:FILE. [default: digits]"),
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="KIND or KIND:FILE, KIND from `noisybench noises`. [default: symmetric]")
    ] = None,
    noise_rate: Annotated[float | None, typer.Option(help="In [0, 1). [default: 0.4]")] = None,
    seed: Annotated[int | None, typer.Option(help="Of noise, split, weights and order. [default: 0]")] = None,
    model: Annotated[str | None, typer.Option(help="Any timm name. [default: the dataset's]")] = None,
    pretrained: Annotated[bool | None, typer.Option("--pretrained", help="Start from timm's weights.")] = None,
    epochs: Annotated[int | None, typer.Option(help="[default: the recipe's]")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images per step. [default: the recipe's]")] = None,
    meta_size: Annotated[int | None, typer.Option(help="Clean meta images. [default: the dataset's]")] = None,
    image_size: Annotated[int | None, typer.Option(help="Resize to this side. [default: the dataset's]")] = None,
    protocol: Annotated[str | None, typer.Option(help="sealed or authors. [default: sealed]")] = None,
    ruleset: Annotated[str | None, typer.Option(help="paper or blind settings. [default: paper]")] = None,
    track: Annotated[
        str | None, typer.Option(help="standard, or fast: the dataset's short schedule. [default: standard]")
    ] = None,
    data_path: Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")] = None,
    clean_labels: Annotated[
        Path | None, typer.Option(help="CSV (path,label) of checked images: the meta set and clean validation.")
    ] = None,
    memory_budget: Annotated[
        int | None, typer.Option(help="MiB of decoded images kept in memory; larger sets stream. [default: 4096]")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes that decode streamed images. [default: 4]")] = None,
    limit_train: Annotated[
        int | None, typer.Option(help="Use so many training images; held-out parts shrink alike.")
    ] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for the results. [default: runs/…]")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with any of these settings.")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any other setting, e.g. method.inner_lr=0.5."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the output folder.")] = False,
    checkpoint_steps: Annotated[
        int | None, typer.Option(help="Save every so many training steps too. [default: not by steps]")
    ] = None,
    checkpoint_minutes: Annotated[
        float | None, typer.Option(help="Save after so many minutes too; 0: at ends of epochs only. [default: 10]")
    ] = None,
    wandb: Annotated[bool | None, typer.Option("--wandb", help="Log to Weights & Biases too.")] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine, one a GPU. [default: 1]")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved configuration and stop.")] = False,
) -> None:
    options = {
        name: value
        for name, value in locals().items()
        if value is not None and name not in ("config", "overrides", "resume", "processes", "dry_run")
    }
    from noisybench.config import build_config, merge, parse_override, read_config_file

    given: dict[str, Any] = read_config_file(config) if config is not None else {}
    given = merge(given, options)
    for text in overrides or []:
        given = merge(given, parse_override(text))
    resolved = build_config(given)
    if dry_run:
        print(resolved.model_dump_json(indent=2))
        return

    if processes is not None and processes > 1:
        from noisybench.launch import launch, refuse_nested, without_processes

        refuse_nested()
        raise typer.Exit(launch(without_processes(sys.argv[1:]), processes))

    import noisybench
    from noisybench.processes import leave
    from noisybench.progress import ConsoleProgress, console

    noisybench.run(resolved, resume=resume, progress=ConsoleProgress(console()))
    leave()


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
    passed = print_check_all() if every else print_check(method, overrides or [])
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


def main() -> None:
    """Run the command line: a user's error is one line and exit code 2."""
    # `package.module:Class` is found below the working directory too, after everything that is installed.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    # torch's forward-mode formulas still use torch.jit inside; a user can do nothing about it.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.* is deprecated", category=FutureWarning)
    try:
        app()
    except SaidElsewhere:
        sys.exit(2)
    except UserError as error:
        if not (_told_by_another(error) or (isinstance(error, ProcessLost) and STARTED in os.environ)):
            print(f"noisybench: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, ProcessLost) else 2)
    except RunStopped as stop:
        if os.environ.get("RANK", "0") == "0":  # of several processes one tells
            print(f"noisybench: {stop}; go on with: {resume_command(sys.argv)}", file=sys.stderr)
        sys.exit(STOPPED)


STARTED = "NOISYBENCH_PROCESSES"  # how many `--processes` started, set for each; the launcher tells of lost ones
STOPPED = 128 + signal.SIGTERM  # what a shell reports of a process that SIGTERM ended


def resume_command(argv: list[str]) -> str:
    """The command that goes on where this one stopped: the same with ``--resume``, under the same launcher if any."""
    started_as_module = Path(argv[0]).name == "__main__.py"
    program = [sys.executable, "-m", "noisybench"] if started_as_module else argv[:1]
    started = os.environ.get(STARTED)
    processes = [] if started is None else ["--processes", started]
    return shlex.join([*program, *argv[1:], *processes, *([] if "--resume" in argv else ["--resume"])])


def _told_by_another(error: UserError) -> bool:
    """Whether the first process of this launcher on this machine tells the same: an error in the command itself."""
    return os.environ.get("LOCAL_RANK", "0") != "0" and not error.told_once


if __name__ == "__main__":
    main()
