"""Processes that lease, for test_leases.py. Imports no torch: they start at once."""

from __future__ import annotations

import time
from pathlib import Path

from noisybench.bench.leases import acquire


def hold(folder: Path, name: str) -> None:
    """Lease, and stay until killed."""
    lease = acquire(folder, name)
    assert lease is not None
    while True:
        time.sleep(60)


def race(folder: Path, rounds: int, barrier, results) -> None:
    """In every round, when all are ready, try to lease that round's name; hold it until all have tried."""
    for number in range(rounds):
        barrier.wait()
        lease = acquire(folder, f"round{number}")
        results.send(lease is not None)
        barrier.wait()
        if lease is not None:
            lease.release()
