"""Co-teaching: the settings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from noisybench.methods.settings.sample_selection import SelectionSettings


class CoTeachingSettings(SelectionSettings):
    """As published, or as the MSLG authors re-implemented it."""

    variant: Literal["published", "mslg-baseline"] = Field(
        default="published",
        description="mslg-baseline: the MSLG authors' ranking (in eval mode, with a second softmax) and schedule "
        "(the exponent on tau)",
    )
