"""`noisybench leaderboard …` and `noisybench compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from noisybench.cli.rerun import CleanLabels, DataPath, ImportMethods, NoiseFiles, Tolerance, Weights
from noisybench.core.console import complain, console, say
from noisybench.core.errors import UserError, unknown_name
from noisybench.spec.metrics import RULES

app = typer.Typer(
    help="Boards: file run records, check them, show and build the tables. Alone: list the boards.",
    invoke_without_command=True,
    rich_markup_mode=None,
)

Root = Annotated[Path, typer.Option("--root", help="Folder that holds the boards' folders.")]
BoardName = Annotated[
    str, typer.Argument(metavar="BOARD", help="Name of a board's card, e.g. digits-quick, or a card's TOML file.")
]
ROOT = Path("leaderboards")
RULE_NAMES = [rule.name for rule in RULES.values()]
Force = Annotated[bool, typer.Option("--force", help="Write over pages that were not generated.")]


@app.callback()
def list_boards(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        from noisybench.leaderboard.store import listed

        for line in listed(ROOT):
            say(line)


@app.command(
    help="Check the records of finished runs and file them.",
    epilog="Example: noisybench leaderboard add runs/*",
)
def add(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Output folders of runs, or result.json files.")],
    board: Annotated[str | None, typer.Option(help="The board. [default: the one that the runs fit]")] = None,
    root: Root = ROOT,
) -> None:
    from noisybench.leaderboard.store import fitting_board, open_board, record_file
    from noisybench.leaderboard.validate import read_record
    from noisybench.spec.record import read_text

    if board is None:
        first = record_file(runs[0])
        chosen = fitting_board(read_record(read_text(first), str(first)), str(first), root)
    else:
        chosen = open_board(board, root)
    added = chosen.add(runs)
    known = f", {len(runs) - len(added)} on the board already" if len(added) < len(runs) else ""
    draws = f"`noisybench leaderboard build {chosen.card.name}` draws the board"
    say(f"{len(added)} filed under {chosen.runs}{known}; {draws}")


@app.command(help="Check every record of a board, or of all boards below a folder; exit code 2 if one is wrong.")
def validate(
    folder: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="A board's folder, or one of boards.")] = None,
    root: Root = ROOT,
) -> None:
    from noisybench.leaderboard.store import boards_in

    boards, unknown = boards_in(root if folder is None else folder)
    wrong = 0
    for board in boards:
        records, problems = board.read()
        for line in problems:
            say(line)
        say(f"{board.folder}: {len(records)} records right, {len(problems)} wrong")
        wrong += len(problems)
    for line in unknown:
        say(line)
    if wrong or unknown:
        folders = f", {len(unknown)} of the folders no board" if unknown else ""
        raise UserError(f"{wrong} record{'' if wrong == 1 else 's'} refused{folders}")


@app.command(help="Print a board's tables.")
def show(
    board: BoardName,
    rule: Annotated[
        str | None, typer.Option(help=f"Selection rule: {', '.join(RULE_NAMES)}. [default: the board's]")
    ] = None,
    root: Root = ROOT,
) -> None:
    from noisybench.leaderboard.store import open_board
    from noisybench.leaderboard.terminal import print_board

    chosen = next((name for name, known in RULES.items() if known.name == rule), None)
    if rule is not None and chosen is None:
        raise unknown_name("selection rule", rule, RULE_NAMES)
    opened = open_board(board, root)
    standings, problems = opened.standings()
    _left_out(problems)
    if not standings.records:
        raise UserError(f"{opened.runs}: no records yet; file some with `noisybench leaderboard add RUN…`")
    print_board(standings, chosen or opened.card.headline, console())


def _left_out(problems: list[str]) -> None:
    for line in problems:
        complain(f"left out: {line}")


@app.command(
    help="Print a board's numbers as CSV, or as a LaTeX table (booktabs).",
    epilog="Example: noisybench leaderboard export digits-quick --format latex --metric best_noisy_val > table.tex",
)
def export(
    board: BoardName,
    form: Annotated[str, typer.Option("--format", help="csv or latex.")] = "csv",
    metric: Annotated[
        str | None,
        typer.Option(
            help="A selection rule or a metric of records, e.g. noise_detection_f1. [default: the board's rule]"
        ),
    ] = None,
    root: Root = ROOT,
) -> None:
    from noisybench.leaderboard.export import FORMATS, board_csv, board_latex, metric_named
    from noisybench.leaderboard.store import open_board

    if form not in FORMATS:
        raise unknown_name("format", form, FORMATS)
    standings, problems = open_board(board, root).standings()
    _left_out(problems)
    chosen = metric_named(metric, standings)
    typer.echo((board_csv if form == "csv" else board_latex)(standings, chosen), nl=False)


@app.command(help="Write a board's README.md and index.html from its records.")
def build(board: BoardName, root: Root = ROOT, force: Force = False) -> None:
    from noisybench.leaderboard.build import build as build_board
    from noisybench.leaderboard.store import open_board

    built = build_board(open_board(board, root), force=force)
    _left_out(built.problems)
    for file, changed in built.pages.items():
        say(f"{file}: {'written' if changed else 'unchanged'}")


@app.command(help="Build a board and serve its folder on this machine until Ctrl-C.")
def serve(
    board: BoardName,
    port: Annotated[int, typer.Option(help="0 takes any free port.")] = 8000,
    root: Root = ROOT,
    force: Force = False,
) -> None:
    from noisybench.leaderboard.build import build as build_board
    from noisybench.leaderboard.serve import serve_folder
    from noisybench.leaderboard.store import open_board

    opened = open_board(board, root)
    _left_out(build_board(opened, force=force).problems)
    serve_folder(opened.folder, port)


@app.command(
    help="Run records of a board again from their own configuration, compare, and file each outcome as it is known. "
    "What is filed already is left. Exit code 1 if one lies outside the tolerance or could not be run.",
    epilog="Example: noisybench leaderboard verify digits-quick --sample 2",
)
def verify(
    board: BoardName,
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="[RUN]...", help="Run ids. [default: --sample, else all]")
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="So many, drawn by their run ids: the same every time.")
    ] = None,
    data_path: DataPath = None,
    noise_file: NoiseFiles = None,
    weights: Weights = None,
    clean_labels: CleanLabels = None,
    output: Annotated[
        Path | None, typer.Option(help="Folder of the runs' folders. [default: runs/verify/BOARD]")
    ] = None,
    tolerance: Tolerance = 0.01,
    again: Annotated[bool, typer.Option("--again", help="Also what is filed already, anew.")] = False,
    import_methods: ImportMethods = False,
    root: Root = ROOT,
) -> None:
    from noisybench.bench.rerun import Files, refuse_foreign_code
    from noisybench.bench.verify import Runs, chosen
    from noisybench.bench.verify import verify as verify_records
    from noisybench.leaderboard.store import open_board

    if runs and sample is not None:
        raise UserError("--sample: name runs or draw a sample, not both")
    opened = open_board(board, root)
    records, problems = opened.read()
    _left_out(problems)
    picked = chosen(records, runs or [], sample)
    if not picked:
        raise UserError(f"{opened.runs}: no records to verify")
    refuse_foreign_code(picked, allowed=import_methods)
    folder = output if output is not None else Path("runs") / "verify" / opened.card.name
    files = Files(data_path, noise_file or [], weights, clean_labels)
    done = verify_records(opened, picked, files, Runs(folder, again), say, tolerance=tolerance)
    say(
        f"{len(picked)} of {len(records)} runs: {done.bit_equal} bit-equal, {done.within} within {100 * tolerance:g} "
        f"points, {done.outside} outside, {done.not_run} not run; `noisybench leaderboard build {board}` shows it"
    )
    raise typer.Exit(1 if done.outside or done.not_run else 0)


@app.command(help="Publish a board's table and plots to Weights & Biases.")
def push(
    board: BoardName,
    wandb: Annotated[str, typer.Option(metavar="ENTITY/PROJECT", help="Where to.")],
    root: Root = ROOT,
) -> None:
    from noisybench.leaderboard.store import open_board
    from noisybench.leaderboard.wandb import push as push_board

    opened = open_board(board, root)
    _left_out(opened.read()[1])
    say(push_board(opened, wandb))


@app.command(help="Rebuild records from Weights & Biases runs, check them as any other, and file the new ones.")
def pull(
    board: BoardName,
    wandb: Annotated[str, typer.Option(metavar="ENTITY/PROJECT", help="Where from.")],
    root: Root = ROOT,
) -> None:
    from noisybench.leaderboard.store import open_board
    from noisybench.leaderboard.wandb import pull as pull_board

    for line in pull_board(open_board(board, root), wandb):
        say(line)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Output folders of runs, or result.json files.")],
) -> None:
    """Put runs side by side: what differs in configuration and data, and their metrics."""
    from noisybench.leaderboard.side_by_side import print_comparison

    print_comparison(runs)
