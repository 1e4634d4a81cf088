"""PENCIL: the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import NonNegative, Positive, Settings


class PencilSettings(Settings):
    warmup_epochs: Epochs = Field(default=70, ge=0, description="phase 1: cross-entropy, labels as given")
    freeze_epoch: Epochs = Field(default=200, ge=0, description="first epoch of phase 3: labels are frozen")
    compatibility_weight: NonNegative = Field(default=0.4, description="α")
    entropy_weight: NonNegative = Field(default=0.1, description="β")
    label_lr: NonNegative = Field(default=600.0, description="λ, the labels' step")
    initial_gap: Positive = Field(default=10.0, description="K: label logits start at K times the one-hot label")
    compatibility: Literal["released", "published"] = Field(
        default="released", description="released: cross-entropy takes the label distribution itself for logits"
    )
