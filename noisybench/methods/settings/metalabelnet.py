"""MetaLabelNet: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import NonNegative, Positive, Settings


class MetaLabelNetSettings(Settings):
    """Warm-up, the look-ahead, and the label layer's Adam."""

    warmup_epochs: Epochs = Field(
        default=44, ge=0, description="epochs of cross-entropy; the encoder is the network then"
    )
    inner_lr: Positive = Field(default=1.0, description="the look-ahead step")
    label_lr: Positive = Field(default=1e-2, description="learning rate of the label layer's Adam")
    label_decay: NonNegative = Field(default=1e-4, description="weight decay of the label layer's Adam")
    entropy_weight: NonNegative = 1.0
    label_floor: NonNegative = Field(default=1e-10, description="ε in log(y + ε)")
