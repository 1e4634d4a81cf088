"""How busy a GPU is and how much of its memory is taken, as nvidia-smi tells it while something else works."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import threading
import time
from dataclasses import dataclass

import torch

from noisybench.core.errors import UserError, one_line

EVERY_SECONDS = 0.25
WINDOW_SECONDS = 1.0  # what nvidia-smi calls utilization is a mean over up to so long before it was asked
ANSWER_SECONDS = 10.0


@dataclass(frozen=True)
class GpuUse:
    """A GPU's state, whoever uses it.

    Attributes:
        busy: the fraction of the time in which at least one kernel ran; it does not say how much of the GPU that
            kernel filled.
        memory: bytes taken, of contexts and of what allocators keep too.
    """

    busy: float
    memory: int


def gpu_name(device: torch.device) -> str:
    """What nvidia-smi calls a CUDA device: by its UUID, since CUDA_VISIBLE_DEVICES numbers devices anew."""
    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


def ask(gpu: str) -> GpuUse:
    """Ask nvidia-smi once.

    Args:
        gpu: as :func:`gpu_name` gives it.

    Raises:
        UserError: there is no nvidia-smi, or it does not know.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        raise UserError("there is no nvidia-smi")
    query = ["--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-i", gpu]
    try:
        done = subprocess.run([program, *query], capture_output=True, text=True, timeout=ANSWER_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"nvidia-smi: {one_line(error)}") from error
    try:
        busy, memory = done.stdout.split(",")
        return GpuUse(float(busy) / 100, int(memory) * 2**20)
    except ValueError as error:
        said = " ".join((done.stdout + done.stderr).split())
        raise UserError(f"nvidia-smi says {said[:200]!r}") from error


class GpuWatch:
    """Asks again and again, in a thread, while it is entered.

    Args:
        gpu: as :func:`gpu_name` gives it.
        every: seconds between two answers.
        window: seconds at the start whose answers are not counted: they speak of the time before.

    Attributes:
        use: mean of ``busy`` and largest ``memory`` of the last time it was entered; None if there was no answer.
        missed: why there was none, each of the times.
    """

    def __init__(self, gpu: str, *, every: float = EVERY_SECONDS, window: float = WINDOW_SECONDS):
        self._gpu, self._every, self._window = gpu, every, window
        self.use: GpuUse | None = None
        self.missed: list[str] = []

    def __enter__(self) -> GpuWatch:
        self.use = None
        self._reason = f"a stretch took no longer than {self._window + self._every:g} s: give more --steps"
        self._seen: list[GpuUse] = []
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join()
        if self._seen:
            busy = statistics.fmean(use.busy for use in self._seen)
            self.use = GpuUse(busy, max(use.memory for use in self._seen))
        else:
            self.missed.append(self._reason)

    def _watch(self) -> None:
        started = time.monotonic()
        while not self._left.wait(self._every):
            asked = time.monotonic()
            try:
                use = ask(self._gpu)
            except UserError as error:
                self._reason = str(error)
                self._seen.clear()  # a mean over a part would pass for one over all
                return
            if asked - started >= self._window and not self._left.is_set():
                self._seen.append(use)
