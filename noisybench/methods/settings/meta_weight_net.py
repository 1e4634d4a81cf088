"""Meta-Weight-Net: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.values import NonNegative, Positive, Settings


class MetaWeightNetSettings(Settings):
    """The weight network and its Adam."""

    hidden: int = Field(default=100, ge=1, description="width of the weight network's hidden layer")
    weight_lr: Positive = Field(default=1e-3, description="learning rate of its Adam")
    weight_decay: NonNegative = Field(default=1e-4, description="weight decay of its Adam")
