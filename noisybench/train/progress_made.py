"""How far a run is: what it has behind it, the epoch in which it is, and both read back from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from noisybench.core.errors import DamagedCheckpoint, one_line
from noisybench.data.loader import Pass
from noisybench.spec.metrics import EPOCH, under_method
from noisybench.train.outputs import BadOutput, check_plan

Count = Annotated[int, Field(strict=True, ge=0)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


@dataclass
class Past:
    """What a run has behind it.

    Attributes:
        curves: one row of metrics per finished epoch.
        step: training steps done.
        train_seconds: spent training.
        wall_seconds: of the earlier processes that the run was resumed from.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    curves: list[dict[str, Any]] = field(default_factory=list)
    step: Count = 0
    train_seconds: Seconds = 0.0
    wall_seconds: Seconds = 0.0


@dataclass
class BegunEpoch:
    """An epoch in which a run is.

    Attributes:
        first_step: the run's step count before it.
        passes: what the method planned when it began; a resumed run does not ask again.
        meter: the state of its :class:`~noisybench.train.evaluate.TrainingMeter`, where it was paused.
    """

    first_step: int
    passes: list[Pass]
    meter: dict[str, Any] = field(default_factory=dict)


def saved_progress(state: dict[str, Any], epochs: int, num_rows: int) -> tuple[Past, BegunEpoch | None]:
    """What is behind a run, and the epoch in which it was paused, from the state of a session.

    Args:
        epochs: of the whole run.
        num_rows: of its train set.

    Raises:
        DamagedCheckpoint: it is no state of such a run.
    """
    try:
        if state.keys() != {"method", "past", "epoch"}:
            raise ValueError(f"it has the parts {', '.join(map(str, state))[:100]}")
        past = TypeAdapter(Past).validate_python(state["past"])
        # A checkpoint of release 0.1 has a method's logs under their bare names.
        past.curves = [{under_method(name): value for name, value in row.items()} for row in past.curves]
        if not all(value is None or isinstance(value, int | float) for row in past.curves for value in row.values()):
            raise ValueError("a metric is no number")
        if [row.get(EPOCH.name) for row in past.curves] != list(range(len(past.curves))):
            raise ValueError("its rows of metrics are not those of epochs 0, 1, 2 …")
        if len(past.curves) + (state["epoch"] is not None) > epochs:
            raise ValueError(f"it is past the run's {epochs} epochs")
        return past, None if state["epoch"] is None else _begun(state["epoch"], past.step, num_rows)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"past.{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except BadOutput as error:
        reason = error.what
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        reason = one_line(error)
    raise DamagedCheckpoint(f"it is no state of this run ({reason})")


def _begun(epoch: dict[str, Any], step: int, num_rows: int) -> BegunEpoch:
    begun = BegunEpoch(**{**epoch, "passes": [Pass(**part) for part in epoch["passes"]]})
    check_plan(begun.passes, num_rows)
    if any(type(part.tag) is not int for part in begun.passes):
        raise ValueError("a tag of a pass is no whole number")
    if type(begun.first_step) is not int or not 0 <= begun.first_step <= step:
        raise ValueError("its epoch begins behind its last step")
    if begun.meter.keys() != {"totals", "first_bad"} or type(begun.meter["first_bad"]) is not int:
        raise ValueError("its running means are of another form")
    for total in begun.meter["totals"].values():
        if not isinstance(total, torch.Tensor) or total.shape != (2,) or total.dtype != torch.float64:
            raise ValueError("a running mean is no pair of float64 numbers")
    return begun
