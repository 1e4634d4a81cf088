"""DivideMix: split the train set by loss, then train semi-supervised, each network on the other's split.

Li, Socher & Hoi, ICLR 2020, after the released code and its authors' answers; the card names each departure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.data.loader import Batch, Pass
from noisybench.methods.base import LabelEstimate, StepOutput
from noisybench.methods.loss_mixture import clean_probability, rescale
from noisybench.methods.losses import prior_penalty
from noisybench.methods.mixmatch import linear_ramp, mixup, sharpen
from noisybench.methods.settings.dividemix import DivideMixSettings
from noisybench.methods.two_networks import TwoNetworks, mean_probability


@dataclass(frozen=True)
class NoiseChoice:
    """What the authors set by the noise; the fields are those of :class:`DivideMixSettings`."""

    lambda_u: float
    threshold: float
    loss_history: int
    confidence_penalty: bool


def authors_choice(symmetric: bool, noise_rate: float, num_classes: int) -> NoiseChoice:
    """The authors' settings for the noise.

    λ_u with symmetric noise is 0 at 20 %, 25 at 50 and 80 %, and 50 (threshold 0.6) at 90 %; on CIFAR-100 it is 25 at
    20 % and 150 above. With asymmetric noise it is 0, and warm-up has the confidence penalty. At 90 % losses are
    averaged over 5 epochs. Sources: the released code, and its author in issues 10 and 15 there. What they leave open:
    rates between count as the nearest of these, 100 classes or more as CIFAR-100, and noise that is neither symmetric
    nor absent as asymmetric.

    Args:
        symmetric: whether the noise is spread evenly over the classes, or absent.
    """
    extreme = noise_rate >= 0.85
    lambda_u, threshold = 0.0, 0.5
    if symmetric and num_classes >= 100:
        lambda_u = 25.0 if noise_rate < 0.35 else 150.0
    elif symmetric and extreme:
        lambda_u, threshold = 50.0, 0.6
    elif symmetric and noise_rate >= 0.35:
        lambda_u = 25.0
    return NoiseChoice(lambda_u, threshold, 5 if extreme else 1, not symmetric)


class DivideMix(TwoNetworks):
    """Warm-up; then per epoch a split by each network's losses, and MixMatch of each network on the other's split."""

    Settings = DivideMixSettings
    settings: DivideMixSettings
    needs: ClassVar[frozenset[str]] = frozenset({"noise_rate", "noise_kind"})
    views: ClassVar[int] = 2
    # Without gradients: 4 of the network that trains (2 views, labelled and unlabelled), 2 of the other; then 4 with
    # a backward pass. The full pass of each epoch is not counted.
    forward_equivalents: float = 4 + 2 + 4 * 3

    def build(self) -> None:
        super().build()
        context = self.context
        self.choice: NoiseChoice = self._choice()
        size = len(context.given_labels)
        context.store.add("losses", torch.zeros(size, 2, self.choice.loss_history, dtype=context.dtype))
        context.store.add("clean_probability", torch.ones(size, 2, dtype=torch.float64))
        context.store.add("prediction", context.one_hot_labels())
        self.splits_made: int = 0
        # Of each network's pass in this epoch: labelled samples, and how many of them are behind it.
        self.rows_in_pass: Tensor = torch.zeros(2, dtype=torch.int64)
        self.rows_done: Tensor = torch.zeros(2, dtype=torch.int64)

    def _choice(self) -> NoiseChoice:
        """The settings, completed by the authors' rule; the noise is read only where something is left out."""
        given = {name: getattr(self.settings, name) for name in NoiseChoice.__dataclass_fields__}
        missing = [name for name, value in given.items() if value is None]
        if missing:
            context = self.context
            rule = authors_choice(context.noise_traits.symmetric, context.noise_rate, context.num_classes)
            given |= {name: getattr(rule, name) for name in missing}
        return NoiseChoice(**given)

    def start_epoch(self, epoch: int) -> None:
        if epoch >= self.settings.warmup_epochs:
            self._split()
            self.rows_in_pass.copy_(torch.stack([self.labelled_for(trained).sum() for trained in (0, 1)]))
            self.rows_done.zero_()

    def _split(self) -> None:
        """Losses of the whole train set in eval mode, and each network's mixture over them."""
        context, depth = self.context, self.choice.loss_history
        self.set_mode(training=False)
        logits = context.full_pass(lambda images, _: torch.stack([net(images) for net in self.networks], dim=1))
        self.set_mode(training=True)
        losses = F.cross_entropy(logits.flatten(0, 1), context.given_labels.repeat_interleave(2), reduction="none")
        losses = losses.view(-1, 2)
        history = context.store["losses"].clone()
        history[:, :, self.splits_made % depth] = torch.stack([rescale(column) for column in losses.T], dim=1)
        self.splits_made += 1
        averages = history[:, :, : min(self.splits_made, depth)].mean(dim=2)
        context.store.replace("losses", history)
        clean = torch.stack([clean_probability(column) for column in averages.T], dim=1)
        context.store.replace("clean_probability", clean)
        context.store.replace("prediction", logits.softmax(dim=2).mean(dim=1))

    def labelled_for(self, trained: int) -> Tensor:
        """The samples that the *other* network's losses call clean (n bool): the labelled set of network 0 or 1."""
        return self.context.store["clean_probability"][:, 1 - trained] > self.choice.threshold

    def epoch_plan(self, epoch: int) -> list[Pass]:
        """A pass for each network, told by its tag. A network whose split holds no labelled sample sits out."""
        if epoch < self.settings.warmup_epochs:
            size = self.settings.warmup_batch_factor * self.context.batch_size
            return [Pass(tag=trained, batch_size=size) for trained in (0, 1)]
        plan = []
        for trained in (0, 1):
            labelled = self.labelled_for(trained)
            if labelled.any():
                unlabelled = (~labelled).nonzero()[:, 0]
                plan.append(Pass(labelled.nonzero()[:, 0], unlabelled if len(unlabelled) else None, tag=trained))
        if not plan:
            raise RuntimeError(f"no sample's clean probability is above the threshold {self.choice.threshold}")
        return plan

    def training_step(self, batch: Batch) -> StepOutput:
        if batch.epoch < self.settings.warmup_epochs:
            return self._warmup_step(batch)
        return self._mixmatch_step(batch)

    def _warmup_step(self, batch: Batch) -> StepOutput:
        logits = self.networks[batch.tag](batch.images)
        loss = F.cross_entropy(logits, batch.labels)
        if self.choice.confidence_penalty:
            loss = loss + negative_entropy(logits)
        self.context.step(loss, self.optimizers[batch.tag])
        return StepOutput(loss, logits)

    def _mixmatch_step(self, batch: Batch) -> StepOutput:
        context, settings, unlabelled = self.context, self.settings, batch.paired
        network = self.networks[batch.tag]

        # 1. Targets from both views, without gradients.
        images, targets = list(batch.views), [self._refined_labels(network, batch)] * 2
        if unlabelled is not None:
            images += unlabelled.views
            targets += [self._guessed_labels(batch.tag, unlabelled)] * 2

        # 2. Mixup over everything, and one forward pass.
        images, targets = mixup(context, images, targets, settings.mixup_alpha, batch.epoch, batch.step)
        logits = network(torch.cat(images))
        num_labelled = 2 * len(batch.index)
        labelled_targets, unlabelled_targets = torch.cat(targets).tensor_split([num_labelled])

        # 3. Cross-entropy on the labelled part, squared error on the unlabelled one, and the prior's penalty on all.
        labelled_rows = 2 * batch.global_size
        unlabelled_rows = 2 * unlabelled.global_size if unlabelled is not None else 0
        share = len(logits) / (labelled_rows + unlabelled_rows)
        fit = F.cross_entropy(logits[:num_labelled], labelled_targets, reduction="none")
        penalty = prior_penalty(context.global_mean(logits.softmax(dim=1).mean(dim=0), share))
        logs = {"labelled_loss": self._global_mean(fit, labelled_rows, share), "prior_penalty": penalty}
        loss = logs["labelled_loss"] + penalty
        if unlabelled is not None:
            squared = (logits[num_labelled:].softmax(dim=1) - unlabelled_targets).square().mean(dim=1)
            logs["unlabelled_loss"] = self._global_mean(squared, unlabelled_rows, share)
            loss = loss + self._unlabelled_weight(batch) * logs["unlabelled_loss"]
        context.step(loss, self.optimizers[batch.tag], share)
        self.rows_done[batch.tag] += batch.global_size
        return StepOutput(loss, logs=logs)

    @torch.no_grad()
    def _refined_labels(self, network: nn.Module, batch: Batch) -> Tensor:
        """w·e_y + (1 − w)·p, sharpened (N×C): w from the other network's mixture, p the mean over both views."""
        own = network(torch.cat(batch.views)).chunk(2)
        clean = self.context.store.read("clean_probability", batch.index)[:, 1 - batch.tag, None].to(own[0].dtype)
        given = F.one_hot(batch.labels, self.context.num_classes)
        return sharpen(clean * given + (1 - clean) * mean_probability(own), self.settings.temperature)

    @torch.no_grad()
    def _guessed_labels(self, trained: int, unlabelled: Batch) -> Tensor:
        """The mean prediction over both views and both networks, sharpened (N×C).

        The network that trains is in train mode, the other one in eval mode, as in the released code.
        """
        images, other = torch.cat(unlabelled.views), self.networks[1 - trained]
        own = self.networks[trained](images).chunk(2)
        other.eval()
        others = other(images).chunk(2)
        other.train()
        return sharpen(mean_probability([*own, *others]), self.settings.temperature)

    def _global_mean(self, values: Tensor, num_rows: int, share: float) -> Tensor:
        """This process's part of the mean over ``num_rows`` rows of the global batch, N values to a scalar."""
        return self.context.weighted_mean(values, torch.full_like(values, 1 / num_rows), share)

    def _unlabelled_weight(self, batch: Batch) -> float:
        """λ_u times its ramp, which grows from batch to batch."""
        done = float(self.rows_done[batch.tag] / self.rows_in_pass[batch.tag])
        epochs = batch.epoch - self.settings.warmup_epochs + done
        return self.choice.lambda_u * linear_ramp(epochs, self.settings.ramp_epochs)

    def epoch_logs(self) -> dict[str, float]:
        """The share of labelled samples in each network's split."""
        if not self.splits_made:
            return {}
        shares = (self.rows_in_pass / len(self.context.given_labels)).tolist()
        return {f"labelled_fraction/network{number + 1}": share for number, share in enumerate(shares)}

    def estimate_labels(self) -> LabelEstimate | None:
        """The latest split's refined labels, w·e_y + (1 − w)·p, with w and p means over both networks.

        Suspicion is −w, not 1 − w: so the most suspicious samples, with w near 0, keep their order.
        """
        if not self.splits_made:
            return None
        store = self.context.store
        clean, prediction = store["clean_probability"].mean(dim=1), store["prediction"]
        given = self.context.one_hot_labels()
        soft_labels = clean[:, None] * given + (1 - clean[:, None]) * prediction
        return LabelEstimate(soft_labels.to(prediction.dtype), -clean)


def negative_entropy(logits: Tensor) -> Tensor:
    """The mean over samples of Σ_c p_c log p_c: lowest for the least certain predictions (a scalar)."""
    log_p = F.log_softmax(logits, dim=1)
    return (log_p.exp() * log_p).sum(dim=1).mean()
