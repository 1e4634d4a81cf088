"""Lease files: one holder at a time, and the leases of dead workers are taken over, by one."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time

import lease_holders
import psutil
import pytest

from noisybench.bench import leases
from noisybench.core.errors import UserError

SPAWN = multiprocessing.get_context("spawn")


def dead_lease(folder, name):
    """A lease whose holder was killed."""
    worker = SPAWN.Process(target=lease_holders.hold, args=(folder, name), daemon=True)
    worker.start()
    while not names_its_holder(folder, name, worker.pid):
        assert worker.is_alive()
        time.sleep(0.01)
    os.kill(worker.pid, 9)
    worker.join()
    return folder / f"{name}.1.lease"


def names_its_holder(folder, name, pid) -> bool:
    """Whether the file is written: it is there, and empty, a moment before."""
    return (leases.holder(folder, name) or "").endswith(f"process {pid}")


def edit(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def silent_for(file, seconds):
    os.utime(file, (time.time() - seconds,) * 2)


def test_a_lease_is_held_once_and_released(tmp_path):
    with leases.acquire(tmp_path, "a") as lease:
        assert leases.acquire(tmp_path, "a") is None
        assert leases.holder(tmp_path, "a").endswith(f"process {os.getpid()}") and not lease.lost()
        with leases.acquire(tmp_path, "b"):
            assert len(list(tmp_path.iterdir())) == 2
    assert not list(tmp_path.iterdir())
    leases.acquire(tmp_path, "a").release()


@pytest.mark.parametrize("stale", [False, True])
def test_of_racing_processes_one_wins(tmp_path, stale):
    rounds, racers = 20, 3
    if stale:
        file = dead_lease(tmp_path, "round0")
        for number in range(1, rounds):
            shutil.copy(file, tmp_path / f"round{number}.1.lease")
    barrier = SPAWN.Barrier(racers)
    pipes = [SPAWN.Pipe(duplex=False) for _ in range(racers)]
    workers = [
        SPAWN.Process(target=lease_holders.race, args=(tmp_path, rounds, barrier, writer), daemon=True)
        for _, writer in pipes
    ]
    for worker in workers:
        worker.start()
    won = [[reader.recv() for reader, _ in pipes] for _ in range(rounds)]
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert [sum(round) for round in won] == [1] * rounds
    assert not list(tmp_path.iterdir())  # the overtaken leases are gone too


def test_a_dead_process_holds_nothing_even_before_its_parent_has_noticed(tmp_path):
    script = "import sys, pathlib, lease_holders; lease_holders.hold(pathlib.Path(sys.argv[1]), 'a')"
    path = os.pathsep.join(sys.path)
    worker = subprocess.Popen([sys.executable, "-c", script, tmp_path], env={**os.environ, "PYTHONPATH": path})
    while not names_its_holder(tmp_path, "a", worker.pid):
        assert worker.poll() is None
        time.sleep(0.01)
    assert leases.acquire(tmp_path, "a") is None
    os.kill(worker.pid, 9)
    while psutil.Process(worker.pid).status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    assert leases.holder(tmp_path, "a") is None
    leases.acquire(tmp_path, "a").release()
    worker.wait()


def test_a_holder_on_another_machine_is_judged_by_its_heartbeat(tmp_path):
    file = dead_lease(tmp_path, "a")
    edit(file, machine="elsewhere", host="elsewhere")
    silent_for(file, leases.STALE_SECONDS - 60)
    assert leases.acquire(tmp_path, "a") is None
    silent_for(file, leases.STALE_SECONDS + 60)
    leases.acquire(tmp_path, "a").release()


def test_another_process_under_the_old_number_is_not_the_holder(tmp_path):
    file = dead_lease(tmp_path, "a")
    me = psutil.Process()
    edit(file, pid=os.getpid(), started=me.create_time())
    silent_for(file, leases.QUIET_SECONDS + 60)
    assert leases.acquire(tmp_path, "a") is None
    edit(file, started=me.create_time() - 1000)
    assert leases.acquire(tmp_path, "a") is None  # just written: a clock that was set looks the same
    silent_for(file, leases.QUIET_SECONDS + 60)
    leases.acquire(tmp_path, "a").release()


def test_an_unreadable_lease_counts_while_it_is_young(tmp_path):
    (tmp_path / "a.1.lease").touch()
    assert leases.acquire(tmp_path, "a") is None
    silent_for(tmp_path / "a.1.lease", leases.STALE_SECONDS + 60)
    leases.acquire(tmp_path, "a").release()


def test_a_holder_notices_that_it_was_overtaken_and_leaves_the_other_alone(tmp_path):
    lease = leases.acquire(tmp_path, "a")
    shutil.copy(tmp_path / "a.1.lease", tmp_path / "a.2.lease")
    assert lease.lost()
    lease.release()
    assert [file.name for file in tmp_path.iterdir()] == ["a.2.lease"]


def test_the_heartbeat_renews_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "HEARTBEAT_SECONDS", 0.02)
    with leases.acquire(tmp_path, "a"):
        file = tmp_path / "a.1.lease"
        silent_for(file, 1000)
        before, renewed, utime = file.stat().st_mtime_ns, threading.Event(), os.utime

        def told(*arguments):
            utime(*arguments)
            renewed.set()

        monkeypatch.setattr(os, "utime", told)
        assert renewed.wait(60)
        assert file.stat().st_mtime_ns > before


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="leases cannot be written there"):
        leases.acquire(tmp_path / "file", "a")
