"""Kill a suite at random moments, resume it each time, and compare its final weights with an uninterrupted suite's.

    OMP_NUM_THREADS=1 python benchmarks/kill_test.py --kills 20

Two MSLG and two co-teaching runs on digits, through `noisybench bench run`, a checkpoint after every step. The moments
are drawn uniformly over the time that the uninterrupted suite trained; every fourth kill then waits until it sees the
temporary file of a checkpoint that is being written. A kill is SIGKILL to the whole process group. It fell into a
checkpoint's writing if that file is left. Exit code 1 if any run differs, or fewer kills than asked for were made.
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


def newest(output: Path) -> float:
    """When the last checkpoint was written."""
    times = [0.0]
    for file in output.glob("*/checkpoints/step-*"):
        try:
            times.append(file.stat().st_mtime)
        except FileNotFoundError:  # deleted by the run meanwhile
            continue
    return max(times)


def train_until(process: subprocess.Popen, output: Path, seconds: float) -> bool:
    """Let a suite train for so long, from its first checkpoint on; False if it ended before."""
    before, deadline = newest(output), None
    while deadline is None or time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        if deadline is None and newest(output) > before:
            deadline = time.monotonic() + seconds
        time.sleep(0.001)
    return True


def wait_for_writing(process: subprocess.Popen, output: Path) -> bool:
    """Wait until a checkpoint is being written; False if the suite ended before."""
    while process.poll() is None:
        if any(output.glob(PARTIAL)):
            return True
    return False


PARTIAL = "*/checkpoints/.step-*.tmp"


def results(output: Path) -> dict[str, tuple[str, str, str]]:
    """By run id: method, the hash of the final weights, and the hash of the metrics of all epochs."""
    found = {}
    for file in sorted(output.glob("*/result.json")):
        record = json.loads(file.read_text())
        metrics = hashlib.sha256((file.parent / "metrics.jsonl").read_bytes()).hexdigest()
        found[record["run_id"]] = record["config"]["method"], record["fingerprints"]["weights"], metrics
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

        process = start(folder, "whole")
        train_until(process, folder / "whole", 0.0)
        began = time.monotonic()
        if process.wait() != 0:
            print((folder / "whole.log").read_text())
            return 1
        trained = time.monotonic() - began
        print(f"uninterrupted: {trained:.1f} s from the first checkpoint on", flush=True)

        moments = sorted(drawn.uniform(0, trained) for _ in range(options.kills))
        gaps = [moment - before for before, moment in zip([0.0, *moments], moments, strict=False)]
        kills = writing = resumes = 0
        cut = folder / "cut"
        for number, gap in enumerate(gaps):
            process = start(folder, "cut")
            resumes += number > 0
            if not train_until(process, cut, gap) or (number % 4 == 3 and not wait_for_writing(process, cut)):
                break
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
            left = list(cut.glob(PARTIAL))
            writing += bool(left)
            done = len(results(cut))
            print(f"kill {kills}: {done} of 4 runs done{', a checkpoint half written' if left else ''}", flush=True)
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
