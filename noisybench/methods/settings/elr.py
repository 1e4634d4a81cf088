"""ELR: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.values import Fraction, NonNegative, Settings


class ELRSettings(Settings):
    beta: Fraction = Field(default=0.7, description="momentum of the targets")
    regularizer_weight: NonNegative = Field(default=3.0, description="λ")
