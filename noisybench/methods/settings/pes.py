"""PES and PES-semi: the settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from noisybench.spec.track import Counts, Epochs
from noisybench.spec.values import NonNegative, Positive, Settings


class PESSettings(Settings):
    """Early stopping by parts of the network."""

    warmup_epochs: Epochs = Field(default=25, ge=1, description="T1, epochs of cross-entropy on everything")
    stage_passes: int = Field(default=7, ge=0, description="T2, passes that refine last stage and classifier")
    head_passes: int = Field(default=5, ge=0, description="T3, passes that refine the classifier alone")
    refine_lr: Positive = Field(default=1e-4, description="rate of the Adam that refines")
    retrain_head: bool = Field(default=True, description="off as released: refined parts are never trained again")


class PESSemiSettings(PESSettings):
    """And MixMatch on what is kept and what is not."""

    warmup_epochs: Epochs = Field(default=20, ge=1, description="T1, epochs of cross-entropy on everything")
    stage_passes: int = Field(default=0, ge=0, description="passes that refine last stage and classifier")
    temperature: Positive = Field(default=0.5, description="T of sharpening")
    mixup_alpha: Positive = Field(default=4.0, description="alpha of mixup's Beta(alpha, alpha)")
    late_mixup_alpha: Positive = Field(default=0.75, description="alpha in the second half of the run")
    lambda_u: NonNegative = Field(default=15.0, description="weight of the unlabelled loss")
    ramp_epochs: Annotated[NonNegative, Counts("epochs")] = Field(
        default=16, description="epochs over which lambda_u's term grows to its weight"
    )
    largest_class_weight: Positive = Field(default=3.0, description="class weights are clipped at it")
