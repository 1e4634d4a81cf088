"""The methods, one file each, over the contract in ``base.py``; their settings, free of torch, in ``settings/``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisybench.core.lazy import lazy_names
from noisybench.spec.track import Counts, Epochs, Steps
from noisybench.spec.values import Settings

__all__ = [
    "Batch",
    "Context",
    "Counts",
    "Epochs",
    "LabelEstimate",
    "Method",
    "Pass",
    "SampleStore",
    "Settings",
    "StepOutput",
    "Steps",
    "UndeclaredError",
]

if TYPE_CHECKING:
    from noisybench.data.loader import Batch, Pass
    from noisybench.methods.base import LabelEstimate, Method, StepOutput
    from noisybench.methods.context import Context
    from noisybench.methods.priors import UndeclaredError
    from noisybench.methods.store import SampleStore
else:  # imported when first used: a method's settings, in the folder beside, need no torch
    __getattr__ = lazy_names(
        __name__,
        {
            "Batch": "noisybench.data.loader",
            "Context": "noisybench.methods.context",
            "LabelEstimate": "noisybench.methods.base",
            "Method": "noisybench.methods.base",
            "Pass": "noisybench.data.loader",
            "SampleStore": "noisybench.methods.store",
            "StepOutput": "noisybench.methods.base",
            "UndeclaredError": "noisybench.methods.priors",
        },
    )
