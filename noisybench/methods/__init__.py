"""The methods, one file each, over the contract in ``base.py``."""

from noisybench.data.loader import Batch, Pass
from noisybench.methods.base import LabelEstimate, Method, Settings, StepOutput
from noisybench.methods.context import Context, UndeclaredError
from noisybench.methods.store import SampleStore
from noisybench.spec.track import Counts, Epochs, Steps

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
