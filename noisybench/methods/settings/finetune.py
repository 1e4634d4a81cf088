"""Fine-tuning: the settings."""

from __future__ import annotations

from pydantic import Field

from noisybench.spec.track import Epochs
from noisybench.spec.values import Settings


class FineTuneSettings(Settings):
    finetune_epochs: Epochs = Field(default=10, ge=1, description="epochs at the end of the run on the meta set alone")
