"""The common part of co-teaching, co-teaching+ and JoCoR: their schedule, exchange and label estimate."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from noisybench.core.errors import UserError
from noisybench.data.loader import Batch
from noisybench.methods.base import LabelEstimate, StepOutput
from noisybench.methods.settings.sample_selection import SelectionSettings
from noisybench.methods.small_loss import forget_rate, small_loss_weights
from noisybench.methods.two_networks import TwoNetworks, mean_probability


class SampleSelection(TwoNetworks):
    """Two networks that train on the small-loss part of each global batch."""

    Settings = SelectionSettings
    settings: SelectionSettings
    needs: ClassVar[frozenset[str]] = frozenset({"noise_rate", "noise_kind"})

    def build(self) -> None:
        super().build()
        groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
        if self.settings.beta1_switch_epoch != "never" and not all("betas" in group for group in groups):
            raise UserError("method.beta1_switch_epoch is for Adam: set optimizer.name=adam, or never here")
        context = self.context
        given = self.settings.forget_rate
        self.tau: float = context.noise_rate * context.noise_traits.wrong_per_rate if given is None else given
        shape = (len(context.given_labels), context.num_classes)
        uniform = torch.full(shape, 1 / context.num_classes, dtype=context.dtype)
        context.store.add("prediction", uniform)

    def start_epoch(self, epoch: int) -> None:
        switch = self.settings.beta1_switch_epoch
        if switch == "never":
            return
        # From the epoch alone, so that a resumed run finds it whatever its checkpoint says.
        beta1 = self.settings.late_beta1 if epoch >= switch else self.context.optimizer_config.momentum
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["betas"] = (beta1, group["betas"][1])

    def forget_rate(self, epoch: int) -> float:
        """R(e) of this run."""
        return forget_rate(epoch, self.tau, self.settings.ramp_epochs, self.settings.ramp_exponent)

    def forward(self, batch: Batch) -> tuple[list[Tensor], list[Tensor]]:
        """Both networks' logits (N×C) and cross-entropies (N)."""
        logits = [network(batch.images) for network in self.networks]
        return logits, [F.cross_entropy(each, batch.labels, reduction="none") for each in logits]

    def exchange(
        self, losses: list[Tensor], ranking: list[Tensor], rate: float, candidates: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Train each network on the samples that the *other* one ranks lowest.

        Args:
            losses: both networks' N losses, which train them.
            ranking: both networks' N losses, which choose.
            rate: R.
            candidates: of the global batch, bool: which samples may be chosen; None for all.

        Returns:
            The mean of both training losses, and the share of the global batch that was chosen.
        """
        # Both choices are made before either network moves; both belong to the global batch.
        ranks = self.context.gather_rows(torch.stack(ranking, dim=1))
        choices = [small_loss_weights(ranks[:, number], rate, candidates) for number in (0, 1)]
        chosen_losses = []
        for number, optimizer in enumerate(self.optimizers):
            weights = self.context.my_rows(choices[1 - number])
            chosen_losses.append(self.context.weighted_mean(losses[number], weights))
            self.context.step(chosen_losses[-1], optimizer)
        return torch.stack(chosen_losses).mean(), kept_fraction(choices[0])

    def output(self, batch: Batch, loss: Tensor, logits: list[Tensor], logs: dict[str, Tensor]) -> StepOutput:
        """The step's output, after the mean prediction has been noted for :meth:`estimate_labels`."""
        probability = mean_probability([each.detach() for each in logits])
        self.context.store.write("prediction", batch.index, probability)
        return StepOutput(loss, probability.log(), logs)

    def estimate_labels(self) -> LabelEstimate:
        """The mean prediction of both networks when they last saw each sample in training.

        Suspicion is 1 − the probability of the given label: the order of small-loss selection.
        """
        prediction = self.context.store["prediction"]
        given = prediction.gather(1, self.context.given_labels[:, None])[:, 0]
        return LabelEstimate(prediction, 1 - given)


def kept_fraction(weights: Tensor) -> Tensor:
    """The share of samples with a weight (a scalar)."""
    return (weights > 0).to(weights.dtype).mean()
