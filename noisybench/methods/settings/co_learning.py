"""Co-learning: the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisybench.spec.values import Positive, Settings


class CoLearningSettings(Settings):
    """The projector, the contrast, and the structure step."""

    projection: int = Field(default=512, ge=1, description="width of the projector's hidden layer and its output")
    temperature: Positive = Field(default=0.5, description="T of the contrastive loss")
    mixup_alpha: Positive = Field(default=5.0, description="alpha of mixup's Beta(alpha, alpha)")
    kernel: Literal["gaussian", "student"] = Field(default="gaussian", description="similarity of two samples")
    structure_rate: Positive = Field(default=0.2, description="the structure step's learning rate over the run's")
