"""Freed memory stays in the process where it trains on a CPU, and only there where nobody said otherwise."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys

import pytest

from noisybench.allocator import SETTINGS

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not glibc")

MIB = 2**20
FREES = f"""
import sys
import psutil
from noisybench.allocator import keep_freed_memory
import numpy as np
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
taken = psutil.Process().memory_info().rss
block = np.ones(64 * {MIB}, dtype=np.uint8)
del block
print(kept, (psutil.Process().memory_info().rss - taken) // {MIB})
"""


def kept_mib(*, keep: bool, environment: dict[str, str] | None = None) -> tuple[str, int]:
    """What the function returned, and how much of 64 MiB a process still holds after it has freed them."""
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", FREES, "keep" if keep else "leave"],
        env={**clean, **(environment or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    returned, held = done.stdout.split()
    return returned, int(held)


@glibc
def test_freed_memory_stays():
    returned, held = kept_mib(keep=True)
    assert returned == "True" and held >= 60
    returned, held = kept_mib(keep=False)
    assert returned == "False" and held <= 4


@glibc
def test_what_the_user_set_stands():
    returned, held = kept_mib(keep=True, environment={"MALLOC_MMAP_THRESHOLD_": str(MIB)})
    assert returned == "False" and held <= 4


@glibc
@pytest.mark.parametrize(("options", "keeps"), [([], True), (["--plain-allocator"], False)])
def test_perf_measures_as_a_run_trains_unless_asked_otherwise(tmp_path, options, keeps):
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    tiny = ["--model", "noisybench_mlp", "--image-size", "8", "--batch-size", "8", "--device", "cpu", "--repeats", "1"]
    command = [sys.executable, "-m", "noisybench", "perf", "steps", *tiny, "--methods", "ce", *options]
    file = tmp_path / "perf.json"
    done = subprocess.run([*command, "--json", file], env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    records = json.loads(file.read_text())
    assert {record["hardware"]["keeps_freed_memory"] for record in records} == {keeps}
    assert ("freed memory kept" if keeps else "freed memory left to the C library") in done.stdout
