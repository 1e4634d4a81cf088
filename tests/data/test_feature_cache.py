"""Features on disk: the same bytes after a kill, damage refused, a full disk told, one computes and the others wait."""

import errno
import hashlib
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from noisybench.core.errors import UserError
from noisybench.data import feature_cache
from noisybench.data.feature_cache import CHUNK, FeatureFile

ROWS, WIDTH = 2 * CHUNK + 100, 3


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISYBENCH_CACHE", str(tmp_path / "cache"))


def values(first: int, end: int) -> torch.Tensor:
    """Row r is (r, r + 0.5, −r)."""
    rows = torch.arange(first, end, dtype=torch.float32)
    return torch.stack([rows, rows + 0.5, -rows], dim=1)


def file(name="set", dtype="float32"):
    return FeatureFile(name, ROWS, WIDTH, dtype)


def nobody_waits():
    raise AssertionError("nobody else computes")


def test_what_is_written_is_what_was_computed():
    calls = []
    file().make(lambda first, end: calls.append((first, end)) or values(first, end), nobody_waits)
    assert calls == [(0, CHUNK), (CHUNK, 2 * CHUNK), (2 * CHUNK, ROWS)]
    assert torch.equal(file().open(), values(0, ROWS)) and file().size == ROWS * WIDTH * 4
    file().make(lambda first, end: pytest.fail("it is there"), nobody_waits)
    assert sorted(path.suffix for path in file().file.parent.iterdir()) == [".bin", ".json", ".lock"]


def test_a_computation_that_was_cut_off_goes_on_and_gives_the_same_bytes():
    def dies(first, end):
        if first == 2 * CHUNK:
            raise KeyboardInterrupt
        return values(first, end)

    with pytest.raises(KeyboardInterrupt):
        file().make(dies, nobody_waits)
    assert not file().is_there()
    partial = file().file.with_suffix(".partial")
    partial.write_bytes(partial.read_bytes() + b"half a row")  # what a kill within a write leaves
    calls = []
    file().make(lambda first, end: calls.append(first) or values(first, end), nobody_waits)
    assert calls == [2 * CHUNK]
    assert file().file.read_bytes() == values(0, ROWS).numpy().tobytes()


def test_chunks_that_were_not_written_whole_are_computed_again():
    def dies(first, end):
        if first:
            raise KeyboardInterrupt
        return values(first, end)

    with pytest.raises(KeyboardInterrupt):
        file().make(dies, nobody_waits)
    partial = file().file.with_suffix(".partial")
    content = bytearray(partial.read_bytes())
    content[7] ^= 1
    partial.write_bytes(content)
    calls = []
    file().make(lambda first, end: calls.append(first) or values(first, end), nobody_waits)
    assert calls == [0, CHUNK, 2 * CHUNK] and torch.equal(file().open(), values(0, ROWS))


@pytest.mark.parametrize("damage", ["bit", "short", "hashes", "no hashes", "too long"])
def test_a_damaged_file_is_refused_and_named(damage):
    file().make(values, nobody_waits)
    path, hashes = file().file, file().file.with_suffix(".json")
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[CHUNK * WIDTH * 4 + 5] ^= 16
    elif damage == "short":
        content = content[:-1]
    elif damage == "too long":
        content += b"\0"
    elif damage == "hashes":
        hashes.write_text('{"chunks": [1, 2]}')
    else:
        hashes.write_text("{}")
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"set\.bin: damaged features \(.*delete it"):
        file().open()


def test_half_precision_rounds_and_no_more():
    file(dtype="float16").make(lambda first, end: (values(first, end) / 7).half(), nobody_waits)
    expected = (values(0, ROWS) / 7).numpy().astype(np.float16)
    assert np.array_equal(file(dtype="float16").open().numpy(), expected)


def test_a_full_disk_is_one_line_and_what_is_written_serves_later(monkeypatch):
    def full(first, end):
        if first == CHUNK:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return values(first, end)

    with pytest.raises(UserError, match="cannot be written .no space left on device.; .*NOISYBENCH_CACHE"):
        file().make(full, nobody_waits)
    calls = []
    file().make(lambda first, end: calls.append(first) or values(first, end), nobody_waits)
    assert calls == [CHUNK, 2 * CHUNK] and torch.equal(file().open(), values(0, ROWS))


SLOW = """
import sys, time, torch
from noisybench.data.feature_cache import FeatureFile
def compute(first, end):
    open(sys.argv[1], "a").write("x")
    time.sleep(0.3)
    return torch.full((end - first, 3), float(first))
FeatureFile("set", 5000, 3, "float32").make(compute, lambda: print("waits"))
"""


def test_of_several_processes_one_computes(tmp_path):
    log = tmp_path / "computed"
    started = [
        subprocess.Popen([sys.executable, "-c", SLOW, str(log)], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    told = [process.communicate(timeout=120)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0]
    assert len(log.read_text()) == 3  # chunks of 5,000 rows: each once
    assert len(told) == 3 and all(text in ("", "waits\n") for text in told)


def test_a_kill_in_the_middle_changes_no_byte(tmp_path):
    log = tmp_path / "computed"
    first = subprocess.Popen([sys.executable, "-c", SLOW, str(log)])
    while not log.exists() or len(log.read_text()) < 2:
        time.sleep(0.02)
    first.kill()
    first.wait()
    subprocess.run([sys.executable, "-c", SLOW, str(log)], check=True)
    found = FeatureFile("set", 5000, 3, "float32")
    starts = np.repeat(np.float32([0, CHUNK, 2 * CHUNK]), [CHUNK, CHUNK, 5000 - 2 * CHUNK])
    expected = hashlib.sha256(np.repeat(starts[:, None], 3, axis=1).tobytes()).hexdigest()
    assert hashlib.sha256(found.file.read_bytes()).hexdigest() == expected
    assert feature_cache.CHUNK == CHUNK and len(found.open()) == 5000
