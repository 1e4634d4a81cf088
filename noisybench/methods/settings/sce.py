"""SCE: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.values import NonNegative, Settings


class SCESettings(Settings):
    alpha: NonNegative = Field(default=0.1, description="weight of the cross-entropy")
    beta: NonNegative = Field(default=1.0, description="weight of the reverse cross-entropy")
    label_clip: float = Field(default=1e-4, gt=0.0, lt=1.0, description="least value of a one-hot label's entries")
    double_softmax: bool = Field(
        default=False, description="the MSLG authors' baseline: predictions and clipped labels pass a further softmax"
    )
