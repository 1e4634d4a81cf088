"""The suites that the documentation plans can be planned."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOUND = sorted(
    {
        line.split("#")[0].strip()
        for file in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
        for line in re.findall(r"^ *noisybench (bench plan .*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
)


@pytest.mark.parametrize("command", FOUND)
def test_a_plan_of_the_documentation_is_no_error(cli, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "student.npz").write_bytes(b"read when it runs")
    code, out, err = cli(*shlex.split(command.replace(":FILE", ":student.npz")))
    assert (code, err) == (0, "") and " runs: " in out
    assert ("--slurm" in command) == (tmp_path / "suite.sh").exists()


def test_there_are_some():
    assert any("--slurm" in command for command in FOUND)


def test_the_example_of_help_is_no_error(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, out, _ = cli("bench", "plan", "--help")
    example = re.search(r"Example: noisybench (bench plan .*)", " ".join(out.split())).group(1)
    assert cli(*shlex.split(example))[0] == 0
