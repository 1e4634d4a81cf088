"""Active negative losses: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.values import NonNegative, Settings


class ANLSettings(Settings):
    """The weights of the three parts."""

    alpha: NonNegative = Field(default=5.0, description="weight of normalised cross-entropy")
    beta: NonNegative = Field(default=5.0, description="weight of its negative counterpart")
    l1: NonNegative = Field(default=5e-5, description="weight of the sum of all parameters' absolute values")
    clip_norm: NonNegative = Field(default=5.0, description="largest norm of the gradient; 0 does not clip")


class ANLERSettings(ANLSettings):
    """And the entropy regulariser."""

    entropy_weight: NonNegative = Field(default=2.0, description="lambda, pulls the mean prediction to uniform")
