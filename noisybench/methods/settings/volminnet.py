"""VolMinNet: the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisybench.spec.values import NonNegative, Positive, Settings


class VolMinNetSettings(Settings):
    """The transition matrix: its start, its optimizer and its volume."""

    volume_weight: NonNegative = Field(default=1e-4, description="weight of log |det T|")
    start: float = Field(default=-2.0, allow_inf_nan=False, description="w at the start: T off the diagonal")
    matrix_optimizer: Literal["sgd", "adam"] = Field(default="sgd", description="sgd has momentum 0.9")
    matrix_lr: Positive = Field(default=1e-2, description="its rate; it follows the schedule in proportion")
