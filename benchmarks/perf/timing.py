"""Times of several things, taken in turns within one process: what slows the machine down slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import torch


def interleaved(
    actions: dict[str, Callable[[], object]], device: torch.device, *, repeats: int, warmup: int = 0, burst: int = 1
) -> dict[str, list[float]]:
    """Seconds of each action, ``repeats`` times each.

    Args:
        actions: by name.
        device: where their work ends up; a GPU is waited for at both ends of a measurement.
        repeats: rounds that are measured.
        warmup: rounds before that, which are not.
        burst: how many times an action runs within one measurement, which is divided by it. More than 1 lets a GPU's
            host run ahead, as it does in training.
    """
    timers = {name: partial(timed, action, device, burst) for name, action in actions.items()}
    return in_turns(timers, repeats=repeats, warmup=warmup)


def in_turns(timers: dict[str, Callable[[], float]], *, repeats: int, warmup: int = 0) -> dict[str, list[float]]:
    """What each timer gives, ``repeats`` times each.

    Every round calls all of them once; the order is reversed from round to round, so that none always follows another.

    Args:
        timers: by name; each does its work and tells the seconds.
        repeats: rounds that are measured.
        warmup: rounds before that, which are not.
    """
    found: dict[str, list[float]] = {name: [] for name in timers}
    for number in range(-warmup, repeats):
        for name in turn(list(timers), number):
            seconds = timers[name]()
            if number >= 0:
                found[name].append(seconds)
    return found


def turn(names: list[str], number: int) -> list[str]:
    """The order of a round."""
    return names if number % 2 == 0 else names[::-1]


def timed(action: Callable[[], object], device: torch.device, burst: int = 1) -> float:
    """Seconds that one run of an action takes, a mean over ``burst`` of them."""
    wait_for(device)
    started = time.perf_counter()
    for _ in range(burst):
        action()
    wait_for(device)
    return (time.perf_counter() - started) / burst


def wait_for(device: torch.device) -> None:
    """Until a GPU has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
