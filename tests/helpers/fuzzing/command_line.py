"""Bad values of the options of every command, in this process."""

from __future__ import annotations

import contextlib
import io
import os
import random
import sys
from pathlib import Path
from typing import Any

import typer

from fuzzing import odd
from fuzzing.tally import BadRefusal
from noisybench.cli.main import app, main
from noisybench.core.errors import UserError

# What keeps a command short and harmless where all of its odd options are accepted.
SHORT = ["--limit-train", "60", "--epochs", "1", "--model", "noisybench_mlp"]
ALWAYS: dict[str, list[str]] = {
    "run": SHORT,
    "noise make": ["--limit-train", "60"],
    "noise student": SHORT,
    "leaderboard serve": ["--root", "gone"],
    "leaderboard push": ["--root", "gone"],
    "leaderboard pull": ["--wandb", "no project"],
    "bench run": ["--methods", "no-such-method"],
    "check": ["--set", "no.such=1"],
}
NEVER = {"help", "all", "wandb_", "port"}
SETTINGS = [
    "method",
    "dataset",
    "noise",
    "limit_train",
    "clean_labels",
    "optimizer",
    "optimizer.lr",
    "augment",
    "augment.extra",
    "schedule",
    "schedule.steps",
    "settings",
    "method.beta",
    "trackers",
    "epochs",
    "seed",
    "output",
    "data_path",
    "a.b.c",
    "image_size",
    "noise_file",
    "noise_seed",
    "workers",
    "memory_budget",
    "track",
]
SETTINGS += ["", "=", "\udcff"]


def commands() -> dict[str, list[Any]]:
    """The parameters of every command, by its words."""
    return dict(_below(typer.main.get_command(app), ""))


def _below(command: Any, words: str):
    subcommands = getattr(command, "commands", None)
    if subcommands is None or getattr(command, "invoke_without_command", False):
        yield words, list(command.params)
    for name, below in (subcommands or {}).items():
        yield from _below(below, f"{words} {name}".strip())


def arguments(chance: random.Random, words: str, parameters: list[Any]) -> list[str]:
    """A command with one to three odd options, and its arguments."""
    given = words.split()
    chosen = chance.sample(parameters, min(len(parameters), chance.choice([0, 1, 1, 2, 3])))
    for parameter in parameters:
        option = parameter.opts[0]
        if not option.startswith("-"):
            given.append(odd.text(chance))
        elif parameter in chosen or parameter.required:
            if parameter.name in NEVER:
                continue
            if getattr(parameter, "is_flag", False):
                given.append(option)
            elif option == "--set":
                given += [option, f"{chance.choice(SETTINGS)}={odd.text(chance)}"]
            else:
                given += [option, odd.text(chance)]
    if words == "run" and chance.random() < 0.8:
        given.append("--dry-run")
    return given + ALWAYS.get(words, [])


@contextlib.contextmanager
def surroundings(folder: Path):
    """A working directory with odd files, deep enough that ``..`` is still the test's own."""
    deep = folder / "a" / "b" / "c"
    deep.mkdir(parents=True, exist_ok=True)
    before, argv = Path.cwd(), sys.argv
    os.chdir(deep)
    try:
        if not os.path.lexists("pipe"):
            os.mkfifo("pipe")
            Path("folder").mkdir()
            Path("text.txt").write_text("text\n")
            Path("link").symlink_to("text.txt")
        yield
    finally:
        os.chdir(before)
        sys.argv = argv


def call(given: list[str], folder: Path) -> None:
    """Run a command in this process.

    Raises:
        BadRefusal: it ends otherwise than well, or in one line with exit code 2; or it leaves a temporary file.
    """
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2))
    with surroundings(folder):
        sys.argv = ["noisybench", *given]
        code: Any = 0
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stop:
                code = stop.code or 0
        left = [str(file) for file in Path().rglob("*.tmp")] + [str(file) for file in Path().rglob("*.unfinished")]
        kept = Path("text.txt").read_text() == "text\n" and Path("link").is_symlink() and Path("pipe").is_fifo()
    err.flush()
    text = err.buffer.getvalue().decode("utf-8")
    shown = " ".join(each if len(each) < 60 else f"{each[:20]}…({len(each)})" for each in given)
    if left or not kept:
        raise BadRefusal(f"{shown}: left {left}, or wrote over what was there")
    if code == 0 or text.startswith("Usage: "):  # help, where a group of commands is given none
        return
    if code == 1 and given[:2] in (["bench", "run"], ["check"], ["check", "--all"]):
        return
    if code != 2 or text.count("\n") > 1 or (not text and given[0] not in ("data", "leaderboard")):
        raise BadRefusal(f"{shown}: exit code {code}, {text.count(chr(10))} lines: {text[:200]}")
    raise UserError(text.strip())
