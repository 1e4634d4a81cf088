"""Processes of a run that are not connected: what a world says of itself and of its part of a batch."""

from __future__ import annotations

from types import SimpleNamespace

from noisybench.parallel.world import World


def process(rank: int = 0, size: int = 1) -> World:
    """Process ``rank`` of ``size``."""
    return World(SimpleNamespace(process_index=rank, num_processes=size, is_main_process=rank == 0))
