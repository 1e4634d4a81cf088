"""Freed memory stays in the process where it trains on a CPU, and only there and only then; peak memory everywhere."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import crew_pieces
import pytest
import torch

import noisybench
from benchmarks.perf.problem import Size
from benchmarks.perf.steps import StepsAsked
from benchmarks.perf.subjects import Variant
from benchmarks.perf.together import Crew
from noisybench.core import machine
from noisybench.core.machine import SETTINGS

glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="not glibc")

MIB = 2**20
FREES = f"""
import sys
import psutil
from noisybench.core.machine import keep_freed_memory
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


@pytest.mark.slow
@glibc
def test_freed_memory_stays():
    returned, held = kept_mib(keep=True)
    assert returned == "True" and held >= 60
    returned, held = kept_mib(keep=False)
    assert returned == "False" and held <= 4


@pytest.mark.slow
@glibc
def test_what_the_user_set_stands():
    returned, held = kept_mib(keep=True, environment={"MALLOC_MMAP_THRESHOLD_": str(MIB)})
    assert returned == "False" and held <= 4


def perf_steps(*options: str | Path, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """`python -m benchmarks steps` of a tiny problem in a process of its own."""
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    tiny = ["--model", "noisybench_mlp", "--image-size", "8", "--batch-size", "8", "--device", "cpu", "--repeats", "2"]
    command = [sys.executable, "-m", "benchmarks", "steps", *tiny, *options]
    return subprocess.run(command, env={**clean, **(environment or {})}, capture_output=True, text=True)


@pytest.mark.slow
@glibc
def test_perf_measures_as_a_run_trains(tmp_path):
    file = tmp_path / "perf.json"
    done = perf_steps("--methods", "ce", "--json", file)
    assert done.returncode == 0, done.stderr
    records = json.loads(file.read_text())
    assert {record["hardware"]["keeps_freed_memory"] for record in records} == {True}
    assert "freed memory kept" in done.stdout and "plain allocator" not in done.stdout


@pytest.mark.slow
@glibc
def test_perf_measures_a_process_beside_it_that_keeps_nothing(tmp_path):
    file = tmp_path / "perf.json"
    options = ("--methods", "mslg,ce", "--engines", "double-backward")
    done = perf_steps(*options, "--plain-allocator", "--json", file)
    assert done.returncode == 0, done.stderr
    records = json.loads(file.read_text())
    names = ["bare CE", "bare CE, channels last", "mslg[double-backward]", "ce"]
    times = {record["name"]: record for record in records if record["quantity"] == "step time"}
    assert list(times) == [*names, *(f"{name}, plain allocator" for name in names)]
    assert {record["baseline"] for record in times.values()} == {None, "bare CE"}
    assert all(len(record["values"]) == 2 and min(record["values"]) > 0 for record in times.values())
    assert [record["name"] for record in records if record["quantity"] == "peak memory"] == names


@pytest.mark.slow
@glibc
def test_the_process_beside_keeps_nothing():
    size = Size("noisybench_mlp", batch_size=8, classes=10, side=8, rows=48)
    with Crew(crew_pieces.free_among_plain_steps, StepsAsked((Variant("ce", "ce"),), size, threads=1), 1) as crew:
        crew.wait_until_ready()
        ((names, failed),) = crew.work()
        assert names == ["bare CE", "bare CE, channels last", "ce"] and not failed
        crew.wait_until_ready()
        (held,) = crew.work()
    assert held <= 4


@pytest.mark.slow
@glibc
def test_nothing_to_compare_is_one_line():
    done = perf_steps("--methods", "ce", "--plain-allocator", environment={"MALLOC_TRIM_THRESHOLD_": "1"})
    assert done.returncode == 2 and done.stdout == "" and done.stderr.count("\n") == 1
    assert done.stderr.startswith("noisybench: --plain-allocator: this process does not keep freed memory anyway")


RESTORES = f"""
import numpy as np
import psutil
from noisybench.core.machine import keeping_freed_memory, keeps_freed_memory

def held():
    taken = psutil.Process().memory_info().rss
    block = np.ones(64 * {MIB}, dtype=np.uint8)
    del block
    return (psutil.Process().memory_info().rss - taken) // {MIB}

with keeping_freed_memory():
    with keeping_freed_memory():
        pass
    inside = keeps_freed_memory(), held()
print(*inside, keeps_freed_memory(), held())
"""


@glibc
def test_memory_is_kept_within_a_run_and_no_longer():
    clean = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run([sys.executable, "-c", RESTORES], env=clean, capture_output=True, text=True, check=True)
    kept, inside, still_kept, after = done.stdout.split()
    assert (kept, still_kept) == ("True", "False")
    assert int(inside) >= 60 and int(after) <= 4


def test_a_run_leaves_the_allocator_as_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_kept", False)  # whatever ran in this process before
    options = {"method": "ce", "limit_train": 100, "epochs": 1, "model": "noisybench_mlp"}
    noisybench.run(noisybench.RunConfig(**options, output=tmp_path / "run"))
    assert not machine.keeps_freed_memory()


def test_peak_memory_without_the_resource_module(monkeypatch):
    """As on Windows, where psutil names it otherwise."""
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr(
        machine.psutil, "Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(peak_wset=12345))
    )
    assert machine.peak_memory_bytes(torch.device("cpu")) == 12345


def test_another_system_keeps_nothing(monkeypatch):
    monkeypatch.setattr(machine, "_kept", False)
    monkeypatch.setattr(machine.sys, "platform", "win32")
    monkeypatch.setattr(machine.ctypes, "CDLL", None)  # which takes no name of None there
    assert not machine.keep_freed_memory()
    with machine.keeping_freed_memory():
        assert not machine.keeps_freed_memory()
