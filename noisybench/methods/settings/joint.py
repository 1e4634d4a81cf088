"""Joint optimization: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import NonNegative, Settings


class JointSettings(Settings):
    first_stage_epochs: Epochs = Field(
        default=200, ge=1, description="then labels are frozen and a fresh network starts"
    )
    label_start: Epochs = Field(default=70, ge=1, description="first epoch on estimated labels")
    window: Epochs = Field(default=10, ge=1, description="epochs whose predictions a label averages")
    prior_weight: NonNegative = Field(default=1.2, description="α, of KL(uniform ‖ batch-mean prediction)")
    entropy_weight: NonNegative = Field(default=0.8, description="β, of the mean entropy of predictions")
    double_softmax_entropy: bool = Field(
        default=False, description="the MSLG authors' baseline: a further softmax inside the entropy's logarithm"
    )
