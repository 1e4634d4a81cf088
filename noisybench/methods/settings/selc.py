"""SELC: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import Fraction, Settings


class SELCSettings(Settings):
    warmup_epochs: Epochs = Field(default=40, ge=0, description="es, epochs of cross-entropy on the given labels")
    momentum: Fraction = Field(default=0.9, description="alpha, what a label keeps of itself at each visit")
