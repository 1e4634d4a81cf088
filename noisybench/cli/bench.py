"""`noisybench bench …`: suites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from noisybench.core.errors import UserError

if TYPE_CHECKING:
    from noisybench.bench.plan import Selection, Suite
    from noisybench.leaderboard.store import Board

app = typer.Typer(
    help="Suites: run every cell of a board with every method and seed, or show what is left.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

BoardName = Annotated[str, typer.Argument(metavar="BOARD", help="Name of a board's card, or a card's TOML file.")]
Seeds = Annotated[int | None, typer.Option(min=1, max=1000, help="How many, counted from 0. [default: the card's]")]
Shard = Annotated[str, typer.Option(metavar="I/N", help="Only part I of N, counted from 1.")]
Methods = Annotated[
    str | None, typer.Option(metavar="NAME,NAME…", help="Whose runs, also as NAME[KEY=VALUE,…]. [default: the card's]")
]
Output = Annotated[Path | None, typer.Option(help="Folder of the runs' folders. [default: runs/BOARD]")]
DataPath = Annotated[Path | None, typer.Option(help="Folder with the dataset's files.")]
Noise = Annotated[
    list[str] | None,
    typer.Option(metavar="KIND:FILE", help="The file that a noise model of the board reads; once for each such model."),
]
NoiseFile = Annotated[
    Path | None,
    typer.Option(help="The file of every noise model of the board that reads one and has none by --noise."),
]
ImportMethods = Annotated[
    bool, typer.Option("--import-methods", help="Import the modules that the card names as methods: they run as code.")
]
NoFile = Annotated[bool, typer.Option("--no-file", help="Do not file finished records on the board.")]
Root = Annotated[Path, typer.Option("--root", help="Folder that holds the boards' folders.")]
CheckpointSteps = Annotated[
    int | None, typer.Option(help="Save runs every so many training steps too. [default: not by steps]")
]
CheckpointMinutes = Annotated[
    float | None, typer.Option(help="Save runs after so many minutes too; 0: at ends of epochs only. [default: 10]")
]
ROOT = Path("leaderboards")


@app.command(
    help="Run what is not done: skips finished runs, resumes interrupted ones, leaves failed ones alone, and files the "
    "records. Exit code 1 if a run failed. Any number of these may share one output folder.",
    epilog="Example: noisybench bench run digits-quick --seeds 5 --jobs 2",
)
def run(
    board: BoardName,
    seeds: Seeds = None,
    shard: Shard = "1/1",
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time. [default: one per GPU, else one per four cores]")
    ] = None,
    methods: Methods = None,
    output: Output = None,
    data_path: DataPath = None,
    noise: Noise = None,
    noise_file: NoiseFile = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try again what failed before.")] = False,
    no_file: NoFile = False,
    import_methods: ImportMethods = False,
    root: Root = ROOT,
    checkpoint_steps: CheckpointSteps = None,
    checkpoint_minutes: CheckpointMinutes = None,
) -> None:
    from noisybench.bench.runner import run_suite
    from noisybench.core.console import console
    from noisybench.leaderboard.store import open_board

    selection, opened = _selection(seeds, methods, shard), open_board(board, root)
    _ask_before_importing(opened, selection, import_methods)
    environment = _environment(data_path, checkpoint_steps, checkpoint_minutes)
    suite = _suite(opened, selection, output, environment, _noise_files(opened, noise, noise_file), filed=not no_file)
    raise typer.Exit(run_suite(suite, console(outlives_reader=True), jobs=jobs, retry_failed=retry_failed))


@app.command(
    help="Print the runs of a board with how far each is and what the rest will cost.",
    epilog="Example: noisybench bench plan digits-quick --slurm suite.sh --shards 12",
)
def plan(
    board: BoardName,
    seeds: Seeds = None,
    shard: Shard = "1/1",
    methods: Methods = None,
    output: Output = None,
    data_path: DataPath = None,
    noise: Noise = None,
    noise_file: NoiseFile = None,
    no_file: NoFile = False,
    import_methods: ImportMethods = False,
    root: Root = ROOT,
    checkpoint_steps: CheckpointSteps = None,
    checkpoint_minutes: CheckpointMinutes = None,
    slurm: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write a SLURM job-array script.")] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Its array tasks. [default: one per run, at most 64]")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a FILE that is no such script.")] = False,
) -> None:
    from noisybench.bench.report import print_plan
    from noisybench.core.console import console
    from noisybench.core.own_outputs import SLURM_SCRIPT
    from noisybench.leaderboard.store import open_board

    if shards is not None and slurm is None:
        raise UserError("--shards: only with --slurm FILE")
    if slurm is not None and shard != "1/1":
        raise UserError("--shard: the script's array tasks take the shards; leave it out with --slurm")
    if slurm is not None:
        SLURM_SCRIPT.refuse_foreign(slurm, force=force)
    selection, opened = _selection(seeds, methods, shard), open_board(board, root)
    _ask_before_importing(opened, selection, import_methods)
    environment = _environment(data_path, checkpoint_steps, checkpoint_minutes)
    suite = _suite(opened, selection, output, environment, _noise_files(opened, noise, noise_file), filed=not no_file)
    print_plan(suite, console())
    if slurm is not None:
        from noisybench.bench.slurm import write_script
        from noisybench.core.console import say

        options: dict[str, object] = {
            "--seeds": seeds,
            "--methods": methods,
            "--output": output,
            "--data-path": data_path,
        }
        options |= {"--checkpoint-steps": checkpoint_steps, "--checkpoint-minutes": checkpoint_minutes}
        given = [text for name, value in options.items() if value is not None for text in (name, str(value))]
        given += [text for named in noise or [] for text in ("--noise", named)]
        given += [] if noise_file is None else ["--noise-file", str(noise_file)]
        given += ["--import-methods"] if import_methods else []
        given += ["--no-file"] if no_file else ["--root", str(root)]
        count = min(len(suite.runs), shards or MAX_SHARDS)
        write_script(slurm, Path(board).stem, ["bench", "run", board, *given], count)
        say(f"{slurm}: {count} array tasks; submit it with `sbatch {slurm}`")


MAX_SHARDS = 64


def _ask_before_importing(board: Board, selection: Selection, allowed: bool) -> None:
    """Refuse to import what somebody else's card names: a module runs as code. What the user names is asked for.

    Raises:
        UserError: the card names such a method, and nothing allows it.
    """
    from noisybench.spec import registry
    from noisybench.spec.variants import parse_variant

    methods = [parse_variant(text)[0] for text in board.card.methods]
    named = [name for name in methods if registry.is_foreign(name)]
    if named and selection.methods is None and not allowed:
        raise UserError(
            f"board {board.card.name!r}: its card names the module of method {named[0]!r}, and importing that runs its "
            f"code: add --import-methods if you trust it, or choose by --methods"
        )


def _selection(seeds: int | None, methods: str | None, shard: str) -> Selection:
    from noisybench.bench.plan import Selection, parse_shard
    from noisybench.spec.variants import split_methods

    names = None if methods is None else split_methods(methods)
    return Selection(seeds, names, parse_shard(shard))


def _environment(
    data_path: Path | None, checkpoint_steps: int | None, checkpoint_minutes: float | None
) -> dict[str, Any]:
    return {
        "data_path": data_path,
        "checkpoint_steps": checkpoint_steps,
        "checkpoint_minutes": checkpoint_minutes,
    }


def _suite(
    board: Board,
    selection: Selection,
    output: Path | None,
    environment: dict[str, Any],
    noise_files: dict[str, Path],
    *,
    filed: bool,
) -> Suite:
    from noisybench.bench.plan import plan

    return plan(
        board.card,
        output if output is not None else Path("runs") / board.card.name,
        board if filed else None,
        selection,
        environment=environment,
        noise_files=noise_files,
    )


def _noise_files(board: Board, noise: list[str] | None, file: Path | None) -> dict[str, Path]:
    """The file of each noise model of a board that reads one, by the model's name.

    Raises:
        UserError: no noise model of the board reads the file.
    """
    from noisybench.spec.layers import noise_kind

    named = dict(_noise_file(text) for text in noise or [])
    if file is None:
        return named
    reading = [kind for kind in board.card.noises if kind not in named and noise_kind(kind).file is not None]
    if not reading:
        raise UserError(
            f"--noise-file {file}: no noise of board {board.card.name!r} ({', '.join(board.card.noises)}) is left that "
            f"reads a file; leave it out"
        )
    return dict.fromkeys(reading, file) | named


def _noise_file(text: str) -> tuple[str, Path]:
    kind, _, file = text.partition(":")
    if not kind or not file:
        raise UserError(f"--noise {text!r}: write KIND:FILE")
    return kind, Path(file)
