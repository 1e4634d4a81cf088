"""ELR+: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Steps
from noisybench.spec.values import Fraction, NonNegative, Positive, Settings


class ELRPlusSettings(Settings):
    """Targets, mixup, and the averaged networks."""

    beta: Fraction = Field(default=0.7, description="momentum of the targets")
    regularizer_weight: NonNegative = Field(default=3.0, description="λ")
    regularizer_ramp: Steps = Field(default=0, ge=0, description="steps over which λ rises to its full value")
    mixup_alpha: Positive = Field(default=1.0, description="alpha of mixup's Beta(alpha, alpha)")
    ema_decay: Fraction = Field(default=0.997, description="decay of the averaged networks once it has risen")
    ema_ramp: Steps = Field(default=40000, ge=0, description="steps over which the decay rises from near 0")
    fit_to_targets: bool = Field(default=False, description="CIFAR-100: labels are multiplied by the targets")
