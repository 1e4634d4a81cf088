"""Forward correction: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import Settings


class ForwardSettings(Settings):
    estimation_epochs: Epochs = Field(default=120, ge=1, description="epochs of cross-entropy; then a fresh network")
    filter_outliers: bool = Field(default=True, description="anchor points below the 97th percentile")
