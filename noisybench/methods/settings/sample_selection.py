"""What co-teaching, co-teaching+ and JoCoR share: the settings."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from noisybench.spec.track import Counts
from noisybench.spec.values import Fraction, Positive, Settings


class SelectionSettings(Settings):
    """The forget-rate schedule, and the authors' change of Adam's beta1 late in training."""

    forget_rate: Fraction | None = Field(
        default=None,
        description="tau, the final forget rate; by the noise if not given: its rate, half of it if asymmetric",
    )
    # In the first of its epochs the rate is 0, in the last one tau: a ramp of 1 is none.
    ramp_epochs: Annotated[int, Counts("epochs", least=2)] = Field(
        default=10, ge=1, description="T_k, epochs over which the forget rate grows to tau"
    )
    ramp_exponent: Positive = Field(default=1.0, description="c, the exponent of the ramp")
    beta1_switch_epoch: Annotated[Annotated[int, Field(ge=0)] | Literal["never"], Counts("epochs")] = Field(
        default="never", description="the epoch from which Adam's beta1 is late_beta1"
    )
    late_beta1: Fraction = Field(default=0.1, description="Adam's beta1 from beta1_switch_epoch on")
