"""CORES2: the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from noisybench.spec.track import Counts, Epochs
from noisybench.spec.values import NonNegative, Settings


class CORES2Settings(Settings):
    """The confidence regulariser's plan, and the sieve."""

    beta: NonNegative = Field(default=2.0, description="the regulariser's full weight")
    beta_start_epoch: Epochs = Field(default=10, ge=0, description="the first epoch of the weight's rise from 0")
    ramp_epochs: Annotated[int, Counts("epochs")] = Field(default=30, ge=1, description="epochs of the rise")
    sieve_epoch: Epochs = Field(default=31, ge=0, description="the first epoch in which the sieve drops samples")
    scale_lr: bool = Field(default=True, description="divide the learning rate by 1 + the weight")
