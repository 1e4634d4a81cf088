"""Learning-rate schedules: the rate is a function of the epoch alone, so a resumed run finds it again."""

from __future__ import annotations

import math

from noisybench.spec.values import ScheduleConfig


def learning_rate(base: float, schedule: ScheduleConfig, epoch: int, epochs: int) -> float:
    """The learning rate of one epoch.

    Args:
        base: ``optimizer.lr``.
        schedule: its shape.
        epoch: counted from 0.
        epochs: length of the run.
    """
    if schedule.name == "steps":
        return next(rate for first, rate in reversed(schedule.steps) if epoch >= first)
    if schedule.name == "linear":
        return base * min(1.0, (epochs - epoch) / max(1, epochs - schedule.start))
    if schedule.name == "triangular":
        rising = (epoch + 1) / (schedule.warmup + 1)
        # A run that is no longer than its warm-up ends on the way up.
        return base * min(rising, (epochs - epoch) / max(1, epochs - schedule.warmup))
    if schedule.name in ("cosine", "cosine-restarts"):
        period = epochs if schedule.name == "cosine" else schedule.period
        phase = (epoch % period) / period
        return schedule.floor + (base - schedule.floor) * (1 + math.cos(math.pi * phase)) / 2
    return base
