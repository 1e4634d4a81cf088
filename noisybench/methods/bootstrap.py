"""Bootstrapping, soft and hard: the target is a mixture of the given label and the network's own prediction.

Reed et al., ICLR workshop 2015.
"""

from __future__ import annotations

from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.base import Method
from noisybench.methods.losses import hard_bootstrap, soft_bootstrap
from noisybench.methods.settings.bootstrap import HardSettings, SoftSettings


class SoftBootstrap(Method):
    """The network's part of the target is its whole prediction."""

    Settings = SoftSettings
    settings: SoftSettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return soft_bootstrap(logits, batch.labels, self.settings.beta).mean()


class HardBootstrap(Method):
    """The network's part of the target is the class it predicts."""

    Settings = HardSettings
    settings: HardSettings

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return hard_bootstrap(logits, batch.labels, self.settings.beta).mean()
