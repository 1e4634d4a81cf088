"""Active passive losses: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.values import NonNegative, Positive, Settings


class APLSettings(Settings):
    """The weights of both parts."""

    alpha: NonNegative = Field(default=1.0, description="weight of the active part, normalised cross-entropy")
    beta: NonNegative = Field(default=1.0, description="weight of the passive part")
    clip_norm: NonNegative = Field(default=5.0, description="largest norm of the gradient; 0 does not clip")


class AGCESettings(APLSettings):
    """And the two constants of AGCE."""

    a: Positive = Field(default=6.0, description="a of ((a + 1)^q - (a + p_y)^q)/q")
    q: Positive = Field(default=1.5, description="q of the same")
