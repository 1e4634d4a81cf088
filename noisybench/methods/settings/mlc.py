"""MLC: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.values import Positive, Settings


class MLCSettings(Settings):
    """The label network and its Adam."""

    embedding: int = Field(default=64, ge=1, description="width of the given label's embedding")
    hidden: int = Field(default=128, ge=1, description="width of the label network's two hidden layers")
    label_lr: Positive = Field(default=3e-4, description="rate of its Adam (amsgrad)")
    meta_every: int = Field(default=1, ge=1, description="the label network moves at every so many steps only")
    carry: bool = Field(
        default=True, description="add the gradient of the step before, as the paper's k-step rule does"
    )
