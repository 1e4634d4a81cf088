"""Co-teaching+: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.methods.settings.sample_selection import SelectionSettings
from noisybench.spec.track import Epochs, Steps


class CoTeachingPlusSettings(SelectionSettings):
    """When disagreement begins to count, and what happens without any."""

    init_epochs: Epochs = Field(default=20, ge=0, description="epochs of plain co-teaching before disagreement counts")
    agreement_steps: Steps = Field(
        default=5000, ge=0, description="a batch without disagreement is trained on as a whole before this step"
    )
