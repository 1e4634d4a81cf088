"""Learning-rate schedules: the rate is a function of the epoch alone, so a resumed run finds it again.

A schedule is a function, registered in the entry-point group ``noisybench.schedules``. It is called with the base rate,
the configuration's table ``schedule``, the epoch (counted from 0) and the length of the run in epochs, and with the
values of ``schedule.settings`` by name, which are its keyword-only parameters.
"""

from __future__ import annotations

import math

from noisybench.core.errors import UserError, one_line
from noisybench.spec import registry
from noisybench.spec.values import ScheduleConfig


def learning_rate(base: float, schedule: ScheduleConfig, epoch: int, epochs: int) -> float:
    """The learning rate of one epoch.

    Args:
        base: ``optimizer.lr``.
        schedule: its shape.
        epoch: counted from 0.
        epochs: length of the run.

    Raises:
        UserError: there is no such schedule, it failed, or it gave no rate.
    """
    function = registry.load("schedule", schedule.name)
    place = f"schedule {schedule.name!r} at epoch {epoch} of {epochs}"
    try:
        rate = float(function(base, schedule, epoch, epochs, **schedule.settings))
    except Exception as error:  # one of another package may raise anything
        raise UserError(f"{place} failed: {type(error).__name__}: {one_line(error)}") from error
    if not (math.isfinite(rate) and rate >= 0):
        raise UserError(f"{place} gave the learning rate {rate}; it must be a number and not below 0")
    return rate


def constant(base: float, schedule: ScheduleConfig, epoch: int, epochs: int) -> float:
    """The same rate in every epoch."""
    return base


def steps(base: float, schedule: ScheduleConfig, epoch: int, epochs: int) -> float:
    """Rates by epoch, as the pairs of ``schedule.steps`` say: (first epoch, rate). ``optimizer.lr`` is not used."""
    return next(rate for first, rate in reversed(schedule.steps) if epoch >= first)


def cosine(base: float, schedule: ScheduleConfig, epoch: int, epochs: int) -> float:
    """Half a cosine from the rate down to ``schedule.floor`` over the run."""
    return _half_cosine(base, schedule.floor, epoch / epochs)


def cosine_restarts(base: float, schedule: ScheduleConfig, epoch: int, epochs: int) -> float:
    """Half a cosine again and again, each over ``schedule.period`` epochs."""
    return _half_cosine(base, schedule.floor, (epoch % schedule.period) / schedule.period)


def _half_cosine(base: float, floor: float, phase: float) -> float:
    return floor + (base - floor) * (1 + math.cos(math.pi * phase)) / 2


def linear(base: float, schedule: ScheduleConfig, epoch: int, epochs: int) -> float:
    """The same rate up to epoch ``schedule.start``, then a line to 0 at the end of the run."""
    return base * min(1.0, (epochs - epoch) / max(1, epochs - schedule.start))


def triangular(base: float, schedule: ScheduleConfig, epoch: int, epochs: int) -> float:
    """A line up to the rate at epoch ``schedule.warmup``, then a line down to 0 at the end of the run."""
    rising = (epoch + 1) / (schedule.warmup + 1)
    # A run that is no longer than its warm-up ends on the way up.
    return base * min(rising, (epochs - epoch) / max(1, epochs - schedule.warmup))
