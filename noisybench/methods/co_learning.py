"""Co-learning: one encoder learns by contrast and from labels, and the classifier keeps the structure of both.

Tan, Xia, Wu & Li, ACM MM 2021, after the released code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch
from noisybench.meta import classifier, classifier_inputs
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.losses import soft_cross_entropy
from noisybench.methods.mixmatch import mixup
from noisybench.methods.optimizers import build_optimizer
from noisybench.methods.settings.co_learning import CoLearningSettings


def similarities(rows: Tensor, kernel: str) -> Tensor:
    """exp(−d²) or 1/(1 + d²) of every two rows' distance d (N×N)."""
    squared = (rows[:, None] - rows[None]).square().sum(dim=2)
    return (-squared).exp() if kernel == "gaussian" else 1 / (1 + squared)


def structure_loss(projections: Tensor, logits: Tensor, kernel: str = "gaussian") -> Tensor:
    """The mean over all pairs of −q log(q' + 1e-12): q of the projections, without gradient, q' of the logits."""
    return -(similarities(projections.detach(), kernel) * (similarities(logits, kernel) + 1e-12).log()).mean()


def contrastive_loss(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """NT-Xent (Chen et al., ICML 2020) of two views' projections, N×D each (a scalar)."""
    rows = F.normalize(torch.cat([one, other]), dim=1)
    size = len(one)
    alike = rows @ rows.T / temperature
    alike = alike.masked_fill(torch.eye(2 * size, dtype=torch.bool, device=rows.device), -torch.inf)
    partners = torch.arange(2 * size, device=rows.device).roll(size)
    return F.cross_entropy(alike, partners)


class CoLearning(Method):
    """A step of the classifier on structure, then one of everything on mixup cross-entropy and contrast."""

    Settings = CoLearningSettings
    settings: CoLearningSettings
    views: ClassVar[tuple[str, ...]] = ("weak", "strong", "strong")
    forward_equivalents: float = 10.0

    def build(self) -> None:
        context, width = self.context, self.settings.projection
        self.network: nn.Module = context.make_network()
        self.head: nn.Module = classifier(self.network)
        features = classifier(self.network).in_features
        self.projector: nn.Module = context.make_module(
            "projector", lambda: nn.Sequential(nn.Linear(features, width), nn.ReLU(), nn.Linear(width, width))
        )
        self.optimizer: torch.optim.Optimizer = context.make_optimizer(self.network, self.projector)
        config = context.optimizer_config
        slower = config.model_copy(update={"lr": config.lr * self.settings.structure_rate})
        self.head_optimizer: torch.optim.Optimizer = build_optimizer(slower, self.head.parameters())
        context.follow_schedule(self.head_optimizer)

    def training_step(self, batch: Batch) -> StepOutput:
        context, settings = self.context, self.settings
        plain, *contrasted = batch.views

        # 1. The classifier alone, so that its outputs lie as the projections do.
        with torch.no_grad():
            features = self._features(plain)
            projections = context.gather_rows(self.projector(features))
        logits = context.gather_rows_with_gradient(self.head(features))
        structure = structure_loss(projections, logits, settings.kernel)
        context.step(structure, self.head_optimizer)

        # 2. Everything, on mixed labels and on contrast.
        labels = F.one_hot(batch.labels, context.num_classes).to(features.dtype)
        key = batch.epoch, batch.step
        images, targets = mixup(context, [plain], [labels], settings.mixup_alpha, *key, own_first=False)
        fit = soft_cross_entropy(self.network(images[0]), targets[0]).mean()
        projected = self.projector(self._features(torch.cat(contrasted))).chunk(2)
        one, other = (context.gather_rows_with_gradient(view) for view in projected)
        contrast = contrastive_loss(one, other, settings.temperature)
        loss = fit + contrast
        context.step(loss, self.optimizer)
        return StepOutput(loss, logs={"structure": structure.detach(), "contrast": contrast.detach()})

    def _features(self, images: Tensor) -> Tensor:
        """What the classifier is given (N×D)."""
        with classifier_inputs(self.network) as kept:
            self.network(images)
        return kept[0].to(self.context.dtype)  # in mixed precision the network's are in another
