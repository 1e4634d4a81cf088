"""MSLG: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import NonNegative, Positive, Settings


class MSLGSettings(Settings):
    """α, κ, γ, K and the stages. κ = αβ/(N·C) is the label step free of normalisation: Δℓ = −κ·(w∘ṗ − y·Σ w∘ṗ)."""

    warmup_epochs: Epochs = Field(default=44, ge=0, description="epochs of cross-entropy before labels move")
    inner_lr: Positive = Field(default=0.5, description="α, the look-ahead step")
    kappa: NonNegative = Field(default=1.5625, description="κ = αβ/(N·C), the label step; 0 freezes the labels")
    entropy_weight: NonNegative = Field(default=1.0, description="γ")
    initial_gap: Positive = Field(default=10.0, description="K: label logits start at K times the one-hot label")
    label_floor: NonNegative = Field(default=1e-10, description="ε in log(y + ε)")
    meta_statistics: bool = Field(default=False, description="meta batches move BatchNorm's running statistics too")
    meta_every: int = Field(
        default=1, ge=1, description="move labels at every so many steps only; the steps between train on what they are"
    )
    engine: str = Field(default="jvp", pattern="^(jvp|finite-difference|head)$")
