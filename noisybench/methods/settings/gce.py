"""GCE: the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from noisybench.spec.track import Counts, Epochs
from noisybench.spec.values import Settings


class GCESettings(Settings):
    q: float = Field(default=0.7, gt=0.0, le=1.0, description="0 would be cross-entropy, 1 is mean absolute error")
    prune_from: Annotated[int | None, Counts("epochs")] = Field(
        default=None, ge=1, description="truncated loss: epoch of the first pruning, counted from 0"
    )
    prune_every: Epochs = Field(default=10, ge=1, description="truncated loss: epochs between two prunings")
    threshold: float = Field(default=0.5, gt=0.0, lt=1.0, description="k: samples with p_y at or below it are pruned")
