"""`scripts/check_parameters.py`: what it counts, what it exempts, and that the code keeps to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def check(*folders: object, cwd: Path = ROOT) -> tuple[int, str]:
    script = [sys.executable, ROOT / "scripts" / "check_parameters.py", *folders]
    done = subprocess.run(script, cwd=cwd, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def test_the_repository_keeps_to_it():
    code, out = check()
    assert code == 0, out


def test_every_kind_of_parameter_counts_and_commands_are_exempt(tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "module.py").write_text("""
from typing import Annotated
import typer

Seed = Annotated[int, typer.Option(min=0)]

def six(a, b, c, /, d, *, e, f): ...
def seven(a, b, c, /, d, *e, f, **g): ...

class Thing:
    def __init__(self, a, b, c, d, e, f): ...
    @classmethod
    async def make(cls, a, b, c, d, e, f, g): ...

def outer():
    def inner(a, b, c, d, e, f, g): ...

def command(a: Seed, b: Seed, c: Seed, d: Seed, e: Seed, f: Annotated[int, typer.Argument()], g: Seed = 0): ...
def no_command(a: Seed, b: Seed, c: Seed, d: Seed, e: Seed, f: int, g: Seed = 0): ...
""")
    code, out = check("code", cwd=tmp_path)
    assert code == 1
    assert out.splitlines() == [
        "code/module.py:8: seven takes 7 parameters, more than 6",
        "code/module.py:13: Thing.make takes 7 parameters, more than 6",
        "code/module.py:16: outer.inner takes 7 parameters, more than 6",
        "code/module.py:19: no_command takes 7 parameters, more than 6",
    ]


def test_an_exception_that_none_needs_is_told(tmp_path):
    module = tmp_path / "noisybench" / "meta" / "weight_gradient.py"
    module.parent.mkdir(parents=True)
    module.write_text("def example_weight_meta_gradient(a, b): ...\n")
    code, out = check("noisybench", cwd=tmp_path)
    place = "noisybench/meta/weight_gradient.py:example_weight_meta_gradient"
    assert (code, out) == (1, f"{place}: needs no exception any more; take it off the list\n")
