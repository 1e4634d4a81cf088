"""PES-semi: after progressive early stopping, MixMatch on the samples that are kept and those that are not.

Bai et al., NeurIPS 2021 (arXiv 2106.15853), after the released code.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.data.loader import Batch, Pass
from noisybench.methods.base import StepOutput
from noisybench.methods.mixmatch import linear_ramp, mixup, sharpen
from noisybench.methods.parts import held_still
from noisybench.methods.pes import PES, WHOLE
from noisybench.methods.settings.pes import PESSemiSettings
from noisybench.methods.two_networks import mean_probability


def split_sizes(kept: int, rejected: int, batch_size: int) -> tuple[int, int]:
    """Labelled and unlabelled rows of a batch: half and half if more samples are rejected, else in proportion."""
    unlabelled = batch_size // 2 if rejected > kept else batch_size * rejected // (kept + rejected)
    return batch_size - unlabelled, unlabelled


class PESSemi(PES):
    """Cross-entropy; refine the classifier; then MixMatch of one network, labels of the kept samples as given."""

    Settings = PESSemiSettings
    settings: PESSemiSettings
    views: ClassVar[int] = 2
    forward_equivalents: float = 2 + 4 * 3

    def selected_passes(self, epoch: int) -> list[Pass]:
        """As many steps as an epoch of whole batches has, whatever the split: kept samples come again until then."""
        kept = self.context.store["kept"]
        rows, rest = kept.nonzero()[:, 0], (~kept).nonzero()[:, 0]
        if not len(rows):
            return [Pass(tag=WHOLE)]
        labelled, unlabelled = split_sizes(len(rows), len(rest), self.context.batch_size)
        steps, plan = max(1, len(kept) // self.context.batch_size), []
        while steps > 0:
            some = rows
            if steps * labelled < len(rows):
                order = self.context.generator("last-rows", epoch).permutation(len(rows))[: steps * labelled]
                some = rows[torch.from_numpy(order).to(rows.device)]
            plan.append(Pass(some, rest if unlabelled else None, WHOLE, labelled, max(1, unlabelled)))
            steps -= -(-len(some) // labelled)
        return plan

    def selected_step(self, batch: Batch) -> StepOutput:
        context, settings, unlabelled = self.context, self.settings, batch.paired
        given = F.one_hot(batch.labels, context.num_classes).to(context.dtype)
        images, targets = list(batch.views), [given] * 2
        if unlabelled is not None:
            images += unlabelled.views
            targets += [self._guessed_labels(unlabelled)] * 2
        late = 2 * batch.epoch >= context.epochs
        alpha = settings.late_mixup_alpha if late else settings.mixup_alpha
        images, targets = mixup(context, images, targets, alpha, batch.epoch, batch.step)
        num_labelled = 2 * len(batch.index)
        with held_still(self.held_for_good()):
            logits = self.network(torch.cat(images))
            rows = 2 * batch.global_size, 2 * unlabelled.global_size if unlabelled is not None else 0
            share = len(logits) / sum(rows)
            labelled_targets, guessed = torch.cat(targets).tensor_split([num_labelled])
            fit = self.weighed_cross_entropy(logits[:num_labelled], labelled_targets)
            loss = context.weighted_mean(fit, 1 / rows[0], share)
            if unlabelled is not None:
                squared = (logits[num_labelled:].softmax(dim=1) - guessed).square().mean(dim=1)
                ramp = linear_ramp(batch.epoch - settings.warmup_epochs, settings.ramp_epochs)
                loss = loss + settings.lambda_u * ramp * context.weighted_mean(squared, 1 / rows[1], share)
            context.step(loss, self.optimizer, share)
        return StepOutput(loss)

    def weighed_cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """−Σ_c w_c t_c log p_c (N), class weights clipped."""
        weights = self.class_weights.clamp_max(self.settings.largest_class_weight)
        return -(weights * targets * F.log_softmax(logits, dim=1)).sum(dim=1)

    @torch.no_grad()
    def _guessed_labels(self, unlabelled: Batch) -> Tensor:
        """The mean prediction over both views, in train mode, sharpened (N×C)."""
        views = self.network(torch.cat(unlabelled.views)).chunk(2)
        return sharpen(mean_probability(list(views)), self.settings.temperature)
