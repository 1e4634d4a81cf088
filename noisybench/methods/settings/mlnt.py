"""MLNT: the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisybench.spec.track import Epochs, Steps
from noisybench.spec.values import Fraction, NonNegative, Positive, Settings


class MLNTSettings(Settings):
    """Phases, the synthetic labels, the look-ahead, and the schedules (in steps from the start of a phase)."""

    warmup_epochs: Epochs = Field(default=10, ge=0, description="epochs of cross-entropy: the first feature network")
    iterations: int = Field(default=1, ge=1, description="meta phases, sharing the remaining epochs evenly")
    inner_lr: Positive = Field(default=0.02, description="a, the look-ahead step")
    label_sets: int = Field(default=10, ge=1, description="M, synthetic label sets a step")
    perturbed: float = Field(default=0.5, ge=0, le=1, description="ρ, the fraction of a batch's labels perturbed")
    neighbours: int = Field(default=10, ge=1, description="k")
    consistency_weight: NonNegative = Field(default=1.0, description="α, the full weight of the consistency loss")
    start_step: Steps = Field(default=500, ge=0, description="plain cross-entropy up to this step of a meta phase")
    ramp_steps: Steps = Field(default=1500, ge=0, description="steps over which the consistency weight rises")
    ramp_decay: Fraction = Field(default=0.99, description="the teacher's decay until the ramp ends")
    decay: Fraction = Field(default=0.999, description="and after it")
    kl_reduction: str = Field(
        default="mean",
        pattern="^(mean|batchmean)$",
        description="mean: over N·C entries, as released; batchmean: over N samples, C times stronger",
    )
    keep_threshold: Fraction = Field(
        default=0.01,
        description="from the second iteration: drop samples whose given label the mentor finds less likely",
    )
    order: Literal["second", "first", "mean-label"] = Field(
        default="second", description="second is exact; first and mean-label are approximations"
    )
    hessian: Literal["shared-graph", "forward-over-reverse"] = Field(
        default="shared-graph", description="how order=second is computed; both are exact"
    )
