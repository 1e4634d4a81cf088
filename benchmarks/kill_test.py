"""Kill a suite at random moments, resume it each time, and compare its final weights with an uninterrupted suite's.

    OMP_NUM_THREADS=1 python benchmarks/kill_test.py --kills 20

Two MSLG and two co-teaching runs on digits, through `noisybench bench run`, a checkpoint after every step. The moments
are drawn uniformly: one of all the suite's steps, and a time within it; every fourth kill instead waits after the step
until it sees the temporary file of a checkpoint that is being written. A kill is SIGKILL to the whole process group. It
fell into a checkpoint's writing if that file is left. Exit code 1 if a run differs or kills were left over.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CARD = """
title = "Kill test"
datasets = ["digits"]
noises = ["symmetric"]
noise_rates = [0.4]
methods = ["mslg", "co-teaching"]
seeds = 2
epochs = {epochs}
"""


def start(folder: Path, output: str) -> subprocess.Popen:
    """The suite, in a process group of its own."""
    command = [sys.executable, "-m", "noisybench", "bench", "run", "kill-test.toml", "--output", output]
    command += ["--no-file", "--jobs", "1", "--checkpoint-steps", "1"]
    log = open(folder / f"{output}.log", "a", encoding="utf-8")  # noqa: SIM115 (the child's)
    return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def steps_saved(output: Path) -> int:
    """Training steps in the newest checkpoints of all runs."""
    newest = {file.parent: 0 for file in output.glob("*/checkpoints")}
    for file in output.glob("*/checkpoints/step-*"):
        newest[file.parent] = max(newest.get(file.parent, 0), int(file.stem[5:]))
    return sum(newest.values())


def train_until(process: subprocess.Popen, output: Path, steps: int) -> bool:
    """Let a suite train until so many steps are saved; False if it ended before."""
    while steps_saved(output) < steps:
        if process.poll() is not None:
            return False
        time.sleep(0.001)
    return True


def wait_for_writing(process: subprocess.Popen, output: Path) -> bool:
    """Wait until a checkpoint is being written; False if the suite ended before."""
    while process.poll() is None:
        if half_written(process, output):
            return True
    return False


def half_written(process: subprocess.Popen, output: Path) -> bool:
    """Whether there is a checkpoint that the process has begun to write."""
    return any(output.glob(f"*/checkpoints/.step-*.{process.pid}.tmp"))


def results(output: Path) -> dict[str, tuple[str, str, str, str]]:
    """By run id: method, the hashes of the final weights and of the other final state, and that of the metrics of all
    epochs."""
    found = {}
    for file in sorted(output.glob("*/result.json")):
        record = json.loads(file.read_text())
        metrics = hashlib.sha256((file.parent / "metrics.jsonl").read_bytes()).hexdigest()
        prints = record["fingerprints"]
        found[record["run_id"]] = record["config"]["method"], prints["weights"], prints["state"], metrics
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    drawn = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kill-test.toml").write_text(CARD.format(epochs=options.epochs))

        began = time.monotonic()
        process = start(folder, "whole")
        if process.wait() != 0:
            print((folder / "whole.log").read_text())
            return 1
        steps = steps_saved(folder / "whole")
        seconds = (time.monotonic() - began) / steps
        print(f"uninterrupted: {steps} steps of {seconds:.3f} s, start and evaluation included", flush=True)

        targets = sorted(drawn.sample(range(1, steps), options.kills))
        kills = writing = resumes = 0
        cut = folder / "cut"
        for number, target in enumerate(targets):
            process = start(folder, "cut")
            resumes += number > 0
            if not train_until(process, cut, target) or (number % 4 == 3 and not wait_for_writing(process, cut)):
                break
            time.sleep(drawn.uniform(0, seconds) if number % 4 != 3 else 0)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            half = half_written(process, cut)
            writing += half
            told = f"{len(results(cut))} of 4 runs done{', a checkpoint half written' if half else ''}"
            print(f"kill {kills} after step {target} of {steps}: {told}", flush=True)
        else:
            process = start(folder, "cut")
            resumes += 1
        code = process.wait()
        expected, found = results(folder / "whole"), results(cut)
        mismatches = sum(found.get(run_id) != result for run_id, result in expected.items())
        for run_id, (method, weights, _) in expected.items():
            got = found.get(run_id, (None, "none"))[1]
            print(f"{run_id} {method}: weights {weights[:16]} uninterrupted, {got[:16]} killed and resumed")
        print(f"runs {len(expected)}, kills {kills}, in a checkpoint's writing {writing}, resumes {resumes}, ", end="")
        print(f"mismatches {mismatches}, last exit code {code}")
        warnings = (folder / "cut.log").read_text().count("warning:")
        print(f"checkpoints passed over as damaged {warnings}")
        return 1 if mismatches or code or len(expected) != 4 or kills < options.kills else 0


if __name__ == "__main__":
    sys.exit(main())
