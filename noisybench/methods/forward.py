"""Forward loss correction: predictions pass through the transition matrix before they meet the noisy labels.

Patrini et al., CVPR 2017. Two methods: the matrix estimated from anchor points, or given.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods.anchor_points import WithAnchorPoints
from noisybench.methods.base import Method
from noisybench.methods.losses import forward_corrected
from noisybench.methods.settings.forward import ForwardSettings


class ForwardOracle(Method):
    """−log (p T)_y with the train set's true transition matrix."""

    needs: ClassVar[frozenset[str]] = frozenset({"transition_matrix"})

    def build(self) -> None:
        super().build()
        self.transition: Tensor = self.context.transition_matrix

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return forward_corrected(logits, batch.labels, self.transition).mean()


class Forward(WithAnchorPoints):
    """Cross-entropy first (T = I), then T from that network's anchor points, then a fresh network on −log (p T)_y."""

    Settings = ForwardSettings
    settings: ForwardSettings

    def start_epoch(self, epoch: int) -> None:
        super().start_epoch(epoch)
        if epoch == self.settings.estimation_epochs:
            self.context.restart(self.network, self.optimizer)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return forward_corrected(logits, batch.labels, self.transition).mean()
