"""The machine that measures."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

import torch

from benchmarks.perf.records import Hardware
from noisybench.core.errors import UserError
from noisybench.core.machine import cores, keep_freed_memory, keeps_freed_memory


def measuring_device(name: str | None, threads: int | None) -> torch.device:
    """The device to measure on: a GPU if there is one and nothing else is said. Sets torch's threads.

    What is measured on a CPU keeps freed memory, as a run does.

    Args:
        name: cpu or cuda.
        threads: of one operator on the CPU.

    Raises:
        UserError: there is no such device.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    has_gpu = torch.cuda.is_available()
    name = name or ("cuda" if has_gpu else "cpu")
    if name not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: choose cpu or cuda")
    if name == "cuda" and not has_gpu:
        raise UserError("--device cuda: torch finds no GPU here; leave it out to measure the CPU")
    if name == "cpu":
        keep_freed_memory()
    return torch.device(name)


def hardware(device: torch.device) -> Hardware:
    """What is measured on, now."""
    return Hardware(
        cpu=_cpu_model(),
        cores=cores(),
        threads=torch.get_num_threads(),
        gpu=torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        torch=torch.__version__,
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        keeps_freed_memory=keeps_freed_memory(),
        load=round(os.getloadavg()[0], 2),
    )


def _cpu_model() -> str:
    """As the kernel names it; what Python knows where there is no /proc."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
