"""L2B: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import NonNegative, Settings


class L2BSettings(Settings):
    """Warm-up and gradient clipping."""

    warmup_epochs: Epochs = Field(default=10, ge=0, description="epochs of cross-entropy on the given labels")
    clip_norm: NonNegative = Field(default=0.0, description="largest norm of the gradient; 0 does not clip")
