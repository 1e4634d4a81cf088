"""What a method logs: checked, and put under a namespace of its own, where it replaces nothing of the benchmark's."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from torch import Tensor

from noisybench.core.errors import MethodError
from noisybench.core.names import name_fault, shown_name
from noisybench.spec.metrics import METHOD_LOGS

STEP_HOOK, EPOCH_HOOK = "training_step", "epoch_logs"
EXPECTED = "give a number or a tensor without dimensions"


def named_logs(method: str, step: int, hook: str, logs: Any) -> dict[str, float | Tensor]:
    """What one hook logs, by its name in rows and records: ``method/NAME``.

    No value of a tensor is read: on a device that would wait.

    Args:
        method: the method's name.
        step: the run's step count, for the error.
        hook: where it is logged: :data:`STEP_HOOK` or :data:`EPOCH_HOOK`.
        logs: what the hook gave.

    Raises:
        MethodError: a name is no name, or a value no scalar; it names both and the hook.
    """
    if not isinstance(logs, dict):
        raise MethodError(method, step, f"{hook} logs a {type(logs).__name__}: give a dict of scalars by name")
    found: dict[str, float | Tensor] = {}
    for name, value in logs.items():
        fault = name_fault(name)
        if fault is not None:
            raise MethodError(method, step, f"{hook} logs something under the name {shown_name(name)}, which {fault}")
        found[METHOD_LOGS + name] = _scalar(method, step, f"{hook} logs {name!r} as", value)
    return found


def _scalar(method: str, step: int, place: str, value: Any) -> float | Tensor:
    if isinstance(value, Tensor):
        if value.ndim:
            raise MethodError(method, step, f"{place} a tensor of shape {tuple(value.shape)}: {EXPECTED}")
        if value.is_complex():
            raise MethodError(method, step, f"{place} a complex tensor: {EXPECTED}")
        return value.detach()
    if not isinstance(value, Real):
        what = "None" if value is None else f"a {type(value).__name__}"
        raise MethodError(method, step, f"{place} {what}: {EXPECTED}")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def with_epoch_logs(row: dict[str, Any], method: str, step: int, logs: Any) -> dict[str, Any]:
    """An epoch's row with what ``epoch_logs`` gives in addition.

    Args:
        row: what the loop knows and the means over the epoch's steps.
        method, step, logs: as for :func:`named_logs`.

    Raises:
        MethodError: a name is no name, a value no finite scalar, or something is logged in both hooks.
    """
    added = {name: float(value) for name, value in named_logs(method, step, EPOCH_HOOK, logs).items()}
    for name, value in {**row, **added}.items():
        logged = name.removeprefix(METHOD_LOGS)
        if name in row and name in added:
            raise MethodError(method, step, f"{EPOCH_HOOK} logs {logged!r}, which {STEP_HOOK} logs too: rename one")
        if value is not None and not math.isfinite(value):
            hook = EPOCH_HOOK if name in added else STEP_HOOK
            what = f"what {hook} logs as {logged!r}" if name.startswith(METHOD_LOGS) else f"its {name}"
            raise MethodError(method, step, f"{what} is not finite: {value}", check="finite losses")
    return {**row, **added}
