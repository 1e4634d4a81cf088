"""The (generalized) Jensen-Shannon losses: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.values import Settings


class JSSettings(Settings):
    label_weight: float = Field(default=0.5, gt=0.0, lt=1.0, description="w0, the label's weight in the mean")
    scaled: bool = Field(default=True, description="divide by -(1 - w0)·log(1 - w0)")
