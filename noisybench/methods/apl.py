"""Active passive losses: normalised cross-entropy plus a loss that pushes the other classes down.

Ma et al., ICML 2020 (NCE+RCE, NCE+MAE), and Zhou et al., ICML 2021 (NCE+AGCE), after the released code.
"""

from __future__ import annotations

from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.methods.base import Method
from noisybench.methods.losses import (
    asymmetric_generalized_cross_entropy,
    mean_absolute_error,
    normalized_cross_entropy,
    reverse_cross_entropy,
)
from noisybench.methods.settings.apl import AGCESettings, APLSettings


class NCEandRCE(Method):
    """α·NCE + β·RCE."""

    Settings = APLSettings
    settings: APLSettings

    def passive(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The passive part (N)."""
        return reverse_cross_entropy(logits, labels)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        active = normalized_cross_entropy(logits, batch.labels).mean()
        return self.settings.alpha * active + self.settings.beta * self.passive(logits, batch.labels).mean()

    def before_step(self, parameters: list[nn.Parameter]) -> None:
        if self.settings.clip_norm:
            nn.utils.clip_grad_norm_(parameters, self.settings.clip_norm)


class NCEandMAE(NCEandRCE):
    """α·NCE + β·(1 − p_y)."""

    def passive(self, logits: Tensor, labels: Tensor) -> Tensor:
        return mean_absolute_error(logits, labels)


class NCEandAGCE(NCEandRCE):
    """α·NCE + β·AGCE."""

    Settings = AGCESettings
    settings: AGCESettings

    def passive(self, logits: Tensor, labels: Tensor) -> Tensor:
        return asymmetric_generalized_cross_entropy(logits, labels, self.settings.a, self.settings.q)
