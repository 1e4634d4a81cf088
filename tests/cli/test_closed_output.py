"""A reader that goes away, as in ``| head``, ends no run."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

CARD = 'title="One"\ndatasets=["digits"]\nnoises=["symmetric"]\nnoise_rates=[0.4]\nmethods=["ce"]\nseeds=1\nepochs=2\n'
RUN = ("run", "--limit-train", "200", "--epochs", "2", "--model", "noisybench_mlp", "--output", "run")


@pytest.mark.parametrize(
    "arguments", [RUN, ("bench", "run", "one.toml", "--jobs", "1", "--output", "suite", "--no-file")]
)
def test_the_work_goes_on_and_one_line_says_so(tmp_path, arguments):
    (tmp_path / "one.toml").write_text(CARD + 'overrides = {limit_train = 200, model = "noisybench_mlp"}\n')
    command = [sys.executable, "-m", "noisybench", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as process:
        process.stdout.close()  # before it says a word
        err = process.stderr.read()
    assert process.returncode == 0, err
    assert err == "noisybench: nobody reads standard output any more; the work goes on without telling\n"
    (record,) = tmp_path.glob("*/result.json" if arguments is RUN else "*/*/result.json")
    assert json.loads(record.read_text())["status"] == "completed"


def test_an_error_that_nobody_reads_still_is_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "noisybench", "run", "--method", "mlsg"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        process.stderr.close()
    assert process.returncode == 2
