"""`check --processes 2`: what is right in one process and wrong in two is found, in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HELPERS = Path(__file__).parents[1] / "helpers"

SAID = {  # class: what is said, in place of "1 and 2 processes train the same"
    "MixesWithShares": None,
    "StepsByItself": "differs between 2 processes: step through context.step or context.apply_gradients",
    "MixesWithoutShares": "is another with 2 processes than with 1",
    "WritesItsOwnRows": "seen differs between 2 processes",
    "RaisesOnOneProcess": "29 rows",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SAID)
def test_one_and_two_processes_are_compared(name):
    home = "failing_methods" if name == "StepsByItself" else "broken_methods"
    said, method = SAID[name], f"{home}:{name}"
    command = [sys.executable, "-m", "noisybench", "check", method, "--processes", "2", "--set", "epochs=1"]
    paths = [str(HELPERS), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=HELPERS, env=environment, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if "processes" in line]
    assert len(lines) == 1, done.stdout + done.stderr
    if said is None:
        assert lines[0] == f"{method}: 1 and 2 processes train the same"
    else:
        assert lines[0].startswith(f"{method}: processes: ") and said in lines[0]
        assert done.returncode == 1


@pytest.mark.parametrize("number", ["1", "0", "-2"])
def test_one_process_alone_is_nothing_to_compare(cli, number):
    code, _, err = cli("check", "ce", "--processes", number)
    assert code == 2
    assert err == f"noisybench: --processes {number}: one process is compared with several; give 2 or more\n"
