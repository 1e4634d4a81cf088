"""Peer loss: what a random image and a random label would cost is taken off the loss.

Liu & Guo, ICML 2020 (arXiv 1910.03231), in the form for images of its authors' later code.
"""

from __future__ import annotations

import torch
from torch import Tensor

from noisybench.data.loader import Batch, Pass
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.settings.peer import PeerSettings

FLOOR = 1e-5  # added to p: the second term is maximised and must stay finite


def floored_cross_entropy(logits: Tensor, labels: Tensor, floor: float = FLOOR) -> Tensor:
    """−log(p_y + floor) (N)."""
    return -(logits.softmax(dim=1).gather(1, labels[:, None])[:, 0] + floor).log()


def plan_value(position: int, lengths: list[int], starts: list[float], ends: list[float]) -> float:
    """The value at an epoch of a plan of segments, each a line from its start to its end; the last end afterwards."""
    for length, start, end in zip(lengths, starts, ends, strict=True):
        if position < length:
            return start + (end - start) * position / max(1, length - 1)
        position -= length
    return ends[-1]


class WithPeers(Method):
    """Every batch has peers: images of one independent draw from the train set, given labels of another."""

    forward_equivalents: float = 6.0

    def epoch_plan(self, epoch: int) -> list[Pass]:
        if epoch < self.settings.warmup_epochs:
            return [Pass()]
        return [Pass(paired_rows=torch.arange(len(self.context.given_labels)))]

    def with_peers(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The batch's logits, the peers', and the peers' labels, which belong to other samples than the images do.

        One forward pass serves both. Losses of it are :meth:`mean_of` terms, and are stepped on with :meth:`share_of`.
        """
        peers, given = batch.paired, self.context.given_labels
        assert peers is not None  # as planned
        drawn = self.context.generator("peer-labels", batch.step).integers(len(given), size=peers.global_size)
        rows = self.context.my_rows(torch.from_numpy(drawn).to(given.device))
        logits = self.network(torch.cat([batch.images, peers.images]))
        own, others = logits.tensor_split([len(batch.index)])
        return own, others, given[rows]

    def mean_of(self, values: Tensor, part: Batch | None, batch: Batch) -> Tensor:
        """The mean of one value per sample over the global rows of a part of the batch, as a loss of this process."""
        assert part is not None
        return self.context.weighted_mean(values, 1 / part.global_size, self.share_of(batch))

    def share_of(self, batch: Batch) -> float:
        """This process's fraction of the rows of batch and peers together."""
        peers = batch.paired
        assert peers is not None
        return (len(batch.index) + len(peers.index)) / (batch.global_size + peers.global_size)


class Peer(WithPeers):
    """CE − α·CE of the peers, α by its plan."""

    Settings = PeerSettings
    settings: PeerSettings

    def start_epoch(self, epoch: int) -> None:
        if self.settings.scale_lr:
            for group in self.optimizer.param_groups:
                group["lr"] /= 1 + self.alpha(epoch)

    def alpha(self, epoch: int) -> float:
        """α of an epoch; 0 in warm-up."""
        settings, past = self.settings, epoch - self.settings.warmup_epochs
        if past < 0:
            return 0.0
        return plan_value(past, settings.plan_epochs, settings.plan_starts, settings.plan_ends)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Of the first epochs."""
        return floored_cross_entropy(logits, batch.labels).mean()

    def training_step(self, batch: Batch) -> StepOutput:
        if batch.epoch < self.settings.warmup_epochs:
            return super().training_step(batch)
        logits, peers, labels = self.with_peers(batch)
        fit = self.mean_of(floored_cross_entropy(logits, batch.labels), batch, batch)
        by_chance = self.mean_of(floored_cross_entropy(peers, labels), batch.paired, batch)
        loss = fit - self.alpha(batch.epoch) * by_chance
        self.context.step(loss, self.optimizer, self.share_of(batch))
        return StepOutput(loss, logits)
