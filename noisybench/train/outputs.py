"""What a method's hooks gave, checked in one place: by a run where it happens, and by the conformance kit.

Whatever needs no look at values on the device is checked at every step; the rest once an epoch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from noisybench.data.loader import Batch, Pass
from noisybench.methods.base import LabelEstimate, StepOutput

OFF = 1e-4  # how far the sum of a row of probabilities may lie from 1


class BadOutput(Exception):
    """A hook gave something else than it promises.

    Attributes:
        check: the promise, by the name of its check in the conformance kit.
        what: what was given, and what would be right.
    """

    def __init__(self, check: str, what: str):
        super().__init__(what)
        self.check, self.what = check, what


def check_step(output: Any, batch: Batch, num_classes: int) -> StepOutput:
    """A training step's output.

    Raises:
        BadOutput: it is no StepOutput, its loss is no scalar, or its logits are not N×C.
    """
    if not isinstance(output, StepOutput):
        raise BadOutput("trains", f"training_step gave {described(output)}: return a StepOutput(loss, logits)")
    if not isinstance(output.loss, Tensor) or output.loss.ndim != 0 or not output.loss.is_floating_point():
        raise BadOutput("finite losses", f"its loss is {described(output.loss)}, not a scalar tensor of floats")
    expected = (len(batch.index), num_classes)
    if output.logits is not None and (not isinstance(output.logits, Tensor) or tuple(output.logits.shape) != expected):
        raise BadOutput("trains", f"StepOutput.logits is {described(output.logits)}, not a tensor of shape {expected}")
    return output


def check_plan(plan: Any, num_rows: int) -> list[Pass]:
    """An epoch's passes over a train set of n rows.

    Raises:
        BadOutput: it is no list of passes, a pass's rows are no rows of the train set, or there is no row to train on.
    """
    if not isinstance(plan, list | tuple) or not all(isinstance(part, Pass) for part in plan):
        raise BadOutput("trains", f"epoch_plan gave {described(plan)}: return a list of Pass")
    for part in plan:
        for name, rows in (("rows", part.rows), ("paired_rows", part.paired_rows)):
            if rows is None:
                continue
            if not isinstance(rows, Tensor) or rows.ndim != 1 or rows.dtype != torch.int64:
                raise BadOutput("trains", f"Pass.{name} is {described(rows)}: give a vector of int64 rows")
            if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < num_rows:
                raise BadOutput(
                    "trains",
                    f"Pass.{name} names rows {int(rows.min())} to {int(rows.max())}; the train set has rows 0 to "
                    f"{num_rows - 1}",
                )
        for name in ("batch_size", "paired_size"):
            size = getattr(part, name)
            if size is not None and (type(size) is not int or size < 1):
                raise BadOutput("trains", f"Pass.{name} is {size!r:.60}: give a whole number from 1")
        if part.paired_rows is not None and not len(part.paired_rows):
            raise BadOutput("trains", "Pass.paired_rows is empty: leave it out where nothing accompanies the rows")
    if not any(part.rows is None or len(part.rows) for part in plan):
        raise BadOutput("trains", "epoch_plan leaves no row to train on: fall back to all rows, Pass()")
    return list(plan)


def check_probabilities(check: str, what: str, found: Any, shape: tuple[int, int]) -> Tensor:
    """Rows of class probabilities.

    Args:
        check: the promise, for the error.
        what: what gave them.
        shape: N×C, as expected.

    Raises:
        BadOutput: another shape, or rows that are no distributions.
    """
    check_shape(check, what, found, shape)
    if not torch.isfinite(found).all() or found.min() < 0:
        raise BadOutput(check, f"{what} gives numbers that are no probabilities")
    off = float((found.double().sum(1) - 1).abs().max())
    if off > OFF:
        raise BadOutput(check, f"{what} gives rows that do not sum to 1 (off by up to {off:.2g})")
    return found


def check_shape(check: str, what: str, found: Any, shape: tuple[int, ...]) -> Tensor:
    """A tensor's shape, without a look at its values.

    Raises:
        BadOutput: it is no tensor, or has another shape.
    """
    if not isinstance(found, Tensor) or tuple(found.shape) != shape:
        given = tuple(found.shape) if isinstance(found, Tensor) else described(found)
        raise BadOutput(check, f"{what} gives {given}, not a tensor of shape {shape}")
    return found


def check_estimate(estimate: Any, num_rows: int, num_classes: int) -> LabelEstimate | None:
    """What a method believes of n training labels.

    Raises:
        BadOutput: it is no LabelEstimate, or one of a wrong shape, off the simplex or not finite.
    """
    if estimate is None:
        return None
    if not isinstance(estimate, LabelEstimate):
        raise BadOutput("label estimates", f"estimate_labels gave {described(estimate)}: return a LabelEstimate")
    check_probabilities("label estimates", "soft_labels", estimate.soft_labels, (num_rows, num_classes))
    check_shape("label estimates", "suspicion", estimate.suspicion, (num_rows,))
    if not torch.isfinite(estimate.suspicion).all():
        raise BadOutput("label estimates", f"suspicion is not {num_rows} finite numbers")
    return estimate


def described(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
    return "None" if value is None else f"a {type(value).__name__}"
