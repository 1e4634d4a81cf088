"""PES, progressive early stopping: later parts of a network are trained anew before they memorise, then it selects.

Bai et al., NeurIPS 2021 (arXiv 2106.15853), after the released code. PES-semi goes on with MixMatch.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch, Pass
from noisybench.meta import classifier
from noisybench.methods.base import LabelEstimate, Method, StepOutput
from noisybench.methods.class_balance import class_weights
from noisybench.methods.estimates import from_soft_labels
from noisybench.methods.parts import held_still, last_stage, parameters_of
from noisybench.methods.settings.pes import PESSettings

WHOLE, STAGE, HEAD = 0, 1, 2  # what a pass trains


class PES(Method):
    """Cross-entropy; in one epoch refine last stage and classifier, then the classifier; then train on the kept."""

    Settings = PESSettings
    settings: PESSettings

    def build(self) -> None:
        super().build()
        context = self.context
        self.head: nn.Module = classifier(self.network)
        stage = [*last_stage(self.network), self.head]
        self.refined: dict[str, list[nn.Module]] = {"stage": stage, "head": [self.head]}
        self.refiners: dict[str, torch.optim.Optimizer] = {
            name: torch.optim.Adam(parameters_of(parts), lr=self.settings.refine_lr)
            for name, parts in self.refined.items()
        }
        self.head_restarted: bool = False
        self.class_weights: Tensor = torch.ones(context.num_classes, dtype=context.dtype, device=context.device)
        context.store.add("kept", torch.ones(len(context.given_labels), dtype=torch.bool))
        context.store.add("prediction", context.one_hot_labels())

    def start_epoch(self, epoch: int) -> None:
        if epoch == self.settings.warmup_epochs and self.settings.stage_passes:
            self.context.restart_parts(self.network, self.refined["stage"], self.optimizer, *self.refiners.values())
        if epoch > self.settings.warmup_epochs:
            self._select(epoch)

    def _select(self, epoch: int) -> None:
        """Keep the samples whose mean prediction over two augmented views is the given label."""
        context, given = self.context, self.context.given_labels
        self.set_mode(training=False)
        views = [
            context.full_pass(lambda images, index: self.network(images).softmax(dim=1), occasion=(epoch, view))
            for view in (0, 1)
        ]
        self.set_mode(training=True)
        prediction = torch.stack(views).mean(dim=0)
        kept = prediction.argmax(dim=1) == given
        counts = torch.zeros_like(self.class_weights).index_add_(0, given, kept.to(prediction.dtype))
        self.class_weights.copy_(class_weights(counts))
        context.store.replace("kept", kept)
        context.store.replace("prediction", prediction)

    def epoch_plan(self, epoch: int) -> list[Pass]:
        """One pass; after warm-up those that refine; later, the kept samples (all, if there is none)."""
        if epoch < self.settings.warmup_epochs:
            return [Pass(tag=WHOLE)]
        if epoch == self.settings.warmup_epochs:
            passes = [Pass(tag=STAGE)] * self.settings.stage_passes + [Pass(tag=HEAD)] * self.settings.head_passes
            return passes or [Pass()]
        return self.selected_passes(epoch)

    def selected_passes(self, epoch: int) -> list[Pass]:
        """The passes of an epoch on the kept samples."""
        rows = self.context.store["kept"].nonzero()[:, 0]
        return [Pass(rows) if len(rows) else Pass()]

    def training_step(self, batch: Batch) -> StepOutput:
        if batch.tag == HEAD and not self.head_restarted:
            self.context.restart_parts(self.network, [self.head], self.optimizer, *self.refiners.values())
            self.head_restarted = True
        if batch.tag in (STAGE, HEAD):
            return self._refine(batch, "stage" if batch.tag == STAGE else "head")
        if batch.epoch <= self.settings.warmup_epochs:
            return super().training_step(batch)
        return self.selected_step(batch)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.labels)

    def _refine(self, batch: Batch, part: str) -> StepOutput:
        """Cross-entropy on everything, for this part alone. What is held still runs in train mode, as released."""
        trained = {id(parameter) for parameter in parameters_of(self.refined[part])}
        with held_still(p for p in self.network.parameters() if id(p) not in trained):
            logits = self.network(batch.images)
            loss = self.loss(logits, batch)
            self.context.step(loss, self.refiners[part])
        return StepOutput(loss, logits)

    def held_for_good(self) -> list[nn.Parameter]:
        """What the released code never trains again, because its optimizer still has the parameters of before."""
        if self.settings.retrain_head:
            return []
        return parameters_of(self.refined["stage" if self.settings.stage_passes else "head"])

    def selected_step(self, batch: Batch) -> StepOutput:
        """Cross-entropy weighed by class, as a weighted mean."""
        with held_still(self.held_for_good()):
            logits = self.network(batch.images)
            weights = self.class_weights[batch.labels]
            # Where every class of the batch has weight 0, which a fallback to all samples allows, the loss is 0.
            total = self.context.gather_rows(weights).sum().clamp_min(torch.finfo(weights.dtype).tiny)
            losses = F.cross_entropy(logits, batch.labels, reduction="none")
            loss = self.context.weighted_mean(losses, weights / total)
            self.context.step(loss, self.optimizer)
        return StepOutput(loss, logits)

    def epoch_logs(self) -> dict[str, float]:
        return {"kept_fraction": float(self.context.store["kept"].double().mean())}

    def estimate_labels(self) -> LabelEstimate:
        """The mean prediction of both views at the latest selection."""
        return from_soft_labels(self.context.store["prediction"], self.context.given_labels)
