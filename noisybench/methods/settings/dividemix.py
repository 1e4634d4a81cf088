"""DivideMix: the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from noisybench.spec.track import Counts, Epochs
from noisybench.spec.values import Fraction, NonNegative, Positive, Settings


class DivideMixSettings(Settings):
    """Warm-up, split and MixMatch. The four that may be left out follow the noise, by
    :func:`noisybench.methods.dividemix.authors_choice`."""

    warmup_epochs: Epochs = Field(default=10, ge=0, description="epochs of cross-entropy before the first split")
    warmup_batch_factor: int = Field(
        default=2, ge=1, description="batches of warm-up are so many times the batch size, as in the released code"
    )
    temperature: Positive = Field(default=0.5, description="T of sharpening")
    mixup_alpha: Positive = Field(default=4.0, description="alpha of mixup's Beta(alpha, alpha)")
    ramp_epochs: Annotated[NonNegative, Counts("epochs")] = Field(
        default=16, description="epochs over which lambda_u's term grows to its weight"
    )
    lambda_u: NonNegative | None = Field(
        default=None, description="weight of the unlabelled loss; by the authors' rule for the noise if not given"
    )
    threshold: Fraction | None = Field(
        default=None, description="clean probability above which a sample is labelled; by the rule if not given"
    )
    loss_history: Annotated[int | None, Counts("epochs")] = Field(
        default=None, ge=1, description="epochs over which the split's losses are averaged; by the rule if not given"
    )
    confidence_penalty: bool | None = Field(
        default=None, description="punish certain predictions in warm-up; by the rule if not given"
    )
