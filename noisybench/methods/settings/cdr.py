"""CDR: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import Fraction, Settings


class CDRSettings(Settings):
    """Which part of the weights is held back."""

    rate: Fraction | None = Field(
        default=None, description="tau, the part of the weights without a step; the noise rate if not given"
    )
    ramp_epochs: Epochs = Field(default=0, ge=0, description="epochs over which tau rises from 0; released: none")
    scale_kept: bool = Field(default=True, description="as released: kept gradients are multiplied by 1 - tau")
