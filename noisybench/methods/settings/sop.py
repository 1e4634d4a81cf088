"""SOP and SOP+: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.values import NonNegative, Settings


class SOPSettings(Settings):
    """The rates of the noise variables, for a batch of 128: a row's step is inverse to the batch size."""

    lr_u: NonNegative = Field(default=10.0, description="learning rate of u, on the given label's entry")
    lr_v: NonNegative = Field(default=10.0, description="learning rate of v, on all other entries")


class SOPPlusSettings(SOPSettings):
    """And the weights of its two further terms."""

    consistency_weight: NonNegative = Field(default=0.9, description="weight of agreement with the strong view")
    balance_weight: NonNegative = Field(default=0.1, description="weight of the batch's balance over classes")
