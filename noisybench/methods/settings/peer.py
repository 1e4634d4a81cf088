"""Peer loss: the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from noisybench.spec.track import Counts, Epochs
from noisybench.spec.values import NonNegative, Settings


class PeerSettings(Settings):
    """A phase of cross-entropy, then the plan of alpha: each segment a line from its start to its end."""

    warmup_epochs: Epochs = Field(default=60, ge=0, description="epochs of cross-entropy before")
    plan_epochs: Annotated[list[Annotated[int, Field(ge=1)]], Counts("epochs")] = Field(
        default=[20, 20, 50, 50, 100, 100], min_length=1, description="lengths of alpha's segments after warm-up"
    )
    plan_starts: list[NonNegative] = Field(default=[0.0, 0.0, 1.0, 2.0, 2.5, 3.3], description="alpha as each begins")
    plan_ends: list[NonNegative] = Field(default=[0.0, 0.1, 2.0, 2.5, 3.3, 5.0], description="alpha as each ends")
    scale_lr: bool = Field(default=True, description="divide the learning rate by 1 + alpha")

    @model_validator(mode="after")
    def _plan_is_whole(self):
        if not len(self.plan_epochs) == len(self.plan_starts) == len(self.plan_ends):
            raise ValueError("plan_epochs, plan_starts and plan_ends must be lists of one length")
        return self
