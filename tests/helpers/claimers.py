"""Processes that claim, for test_bench_claims.py. Imports no torch: they start at once."""

from __future__ import annotations

import time
from pathlib import Path

from noisybench.bench.leases import acquire


def hold(folder: Path, name: str) -> None:
    """Claim, and stay until killed."""
    claim = acquire(folder, name)
    assert claim is not None
    while True:
        time.sleep(60)


def race(folder: Path, rounds: int, barrier, results) -> None:
    """In every round, when all are ready, try to claim that round's name; hold it until all have tried."""
    for number in range(rounds):
        barrier.wait()
        claim = acquire(folder, f"round{number}")
        results.send(claim is not None)
        barrier.wait()
        if claim is not None:
            claim.release()
