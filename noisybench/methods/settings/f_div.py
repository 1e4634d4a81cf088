"""Robust f-divergence: the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import Settings


class FDivSettings(Settings):
    """The divergence, and the phase of cross-entropy before it."""

    divergence: Literal["total-variation", "jensen-shannon", "pearson", "kl"] = "total-variation"
    warmup_epochs: Epochs = Field(default=60, ge=0, description="epochs of cross-entropy before")
    forget_momentum: bool = Field(
        default=False, description="as released: momentum starts from 0 again and again, at the head of each pass"
    )
