"""JoCoR: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.methods.settings.sample_selection import SelectionSettings
from noisybench.spec.values import Fraction


class JoCoRSettings(SelectionSettings):
    """The weight of agreement."""

    co_lambda: Fraction = Field(default=0.1, description="lambda, the weight of agreement against cross-entropy")
