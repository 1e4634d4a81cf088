"""Label smoothing and negative label smoothing: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import Settings


class SmoothingSettings(Settings):
    rate: float = Field(default=0.4, le=1.0, gt=0.0, description="r, the part of a label that is spread evenly")


class NegativeSmoothingSettings(Settings):
    """A phase of cross-entropy, then labels that are sharper than one-hot."""

    rate: float = Field(default=-1.0, lt=0.0, allow_inf_nan=False, description="r: below 0, without a bound")
    warmup_epochs: Epochs = Field(default=120, ge=0, description="epochs of cross-entropy before")
