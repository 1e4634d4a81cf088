"""Importance reweighting and T-Revision: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import Positive, Settings


class ReweightSettings(Settings):
    """How the transition matrix is estimated."""

    estimation_epochs: Epochs = Field(default=20, ge=1, description="epochs of cross-entropy, then T is read off")
    filter_outliers: bool = Field(default=True, description="anchor points below the 97th percentile")


class TRevisionSettings(ReweightSettings):
    """And how it is revised."""

    revision_epoch: Epochs = Field(default=220, ge=1, description="the first epoch that revises T")
    revision_lr: Positive = Field(default=5e-7, description="rate of the Adam that revises T and the network")
    add_per_sample: bool = Field(
        default=False, description="as released: sample i of a batch has the revision added i + 1 times"
    )
