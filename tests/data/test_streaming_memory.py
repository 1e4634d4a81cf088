"""Streaming keeps no pixels from epoch to epoch."""

from __future__ import annotations

import json
import platform
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

TRAIN, SIDE, EPOCHS = 400, 64, 5

# Memory in use, seen as the resident set once the C library has given back what is free: without that, the resident
# set also holds freed blocks of earlier epochs and wanders.
RUN = """
import ctypes, json, os, sys
import noisybench
from noisybench.train.progress import Progress

trim = ctypes.CDLL("libc.so.6").malloc_trim
found = []

class Watch(Progress):
    def epoch(self, row):
        trim(0)
        pages = int(open("/proc/self/statm").read().split()[1])
        found.append(pages * os.sysconf("SC_PAGE_SIZE"))

photos, output, side, epochs, budget = sys.argv[1:]
config = noisybench.RunConfig(
    method="ce", dataset=f"imagefolder:{photos}", noise_rate=0.2, model="noisybench_mlp", batch_size=32,
    image_size=int(side), epochs=int(epochs), memory_budget=int(budget), workers=2, output=output,
)
noisybench.run(config, progress=Watch())
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc to give free memory back")
def test_memory_of_streaming_is_flat_over_epochs(tmp_path):
    drawn = np.random.default_rng(0)
    for part, size in (("train", TRAIN), ("test", 60)):
        for row in range(size):
            folder = tmp_path / "photos" / part / f"class{row % 3}"
            folder.mkdir(parents=True, exist_ok=True)
            pixels = drawn.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{row}.png")
    arguments = [tmp_path / "photos", tmp_path / "run", SIDE, EPOCHS, 0]
    done = subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)], capture_output=True, text=True, check=True, timeout=600
    )
    resident = json.loads(done.stdout)
    assert len(resident) == EPOCHS
    decoded = TRAIN * 3 * SIDE * SIDE  # bytes of one epoch's pixels
    growth = resident[-1] - resident[0]
    assert growth < decoded / 2, f"grew by {growth} bytes over {EPOCHS - 1} epochs of {decoded} bytes each: {resident}"
