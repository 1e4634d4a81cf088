"""Soft and hard bootstrapping: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.values import Settings


class SoftSettings(Settings):
    beta: float = Field(default=0.95, ge=0.0, le=1.0, description="weight of the given label in the target")


class HardSettings(Settings):
    beta: float = Field(default=0.8, ge=0.0, le=1.0, description="weight of the given label in the target")
