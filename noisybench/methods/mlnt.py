"""MLNT, Learning to Learn from Noisy Labeled Data: train so that no step on perturbed labels leaves the teacher.

Li, Wong, Zhao & Kankanhalli, CVPR 2019 (arXiv 1812.05214), after the released code; the card names each departure.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from noisybench.core.errors import UserError
from noisybench.data.loader import Batch, Pass
from noisybench.meta import LabelSteps, NoisyForward, look_ahead_gradient, noisy_forward
from noisybench.methods.base import Method, StepOutput
from noisybench.methods.ema import frozen_copy, update_ema
from noisybench.methods.settings.mlnt import MLNTSettings


class MLNT(Method):
    """A phase of cross-entropy, then meta phases: cross-entropy plus consistency with the teacher after a look-ahead.

    Each meta phase starts from fresh weights, with the network of the phase before as its frozen feature network.
    """

    Settings = MLNTSettings
    settings: MLNTSettings
    heads: ClassVar[tuple[str, ...]] = ("teacher", "student")
    looks_ahead: ClassVar[bool] = True
    forward_equivalents: float = 97.0  # of a meta step with the default settings; build() counts the run's

    def build(self) -> None:
        super().build()
        remaining = self.context.epochs - self.settings.warmup_epochs
        if 0 < remaining < self.settings.iterations:
            raise UserError(
                f"method.iterations: {self.settings.iterations} meta phases do not fit into the {remaining} epochs "
                "after warm-up; give more epochs or fewer iterations"
            )
        # Forward, backward, teacher, features; per label set g (2) and v (3). The products H·v: through the graph that
        # all sets share, 4 each and 2 together; by forward over reverse, 3 for the gradient and 6 for its tangent.
        sets = self.settings.label_sets
        products = {"second": sets, "first": 0, "mean-label": 1}[self.settings.order]
        shared = self.settings.order == "second" and self.settings.hessian == "shared-graph"
        self.forward_equivalents = 5.0 + 5.0 * sets + (4.0 * sets + 2.0 if shared else 9.0 * products)
        self.teacher: nn.Module = frozen_copy(self.network)
        self.mentor: nn.Module = frozen_copy(self.network)
        self.keep: Tensor = torch.ones(len(self.context.given_labels), dtype=torch.bool, device=self.context.device)
        self.iteration: int = 0  # 0 is the cross-entropy phase
        self.phase_step: int = 0
        self.teacher_started: bool = False

    def start_epoch(self, epoch: int) -> None:
        settings = self.settings
        meta_epochs = self.context.epochs - settings.warmup_epochs
        starts = [settings.warmup_epochs + meta_epochs * i // settings.iterations for i in range(settings.iterations)]
        if epoch in starts:
            self._start_meta_phase(fresh=epoch > 0)

    def _start_meta_phase(self, *, fresh: bool) -> None:
        """Make the headline network so far the mentor, filter by it from the second time on, and start afresh."""
        self.mentor.load_state_dict(self._teacher_or_student().state_dict())
        self.mentor.eval()
        self.iteration += 1
        if self.iteration > 1:
            given = self.context.given_labels

            def confidence(images: Tensor, index: Tensor) -> Tensor:
                return self.mentor(images).softmax(dim=1).gather(1, given[index, None])[:, 0]

            self.keep.copy_(self.context.full_pass(confidence) >= self.settings.keep_threshold)
            if not self.keep.any():
                raise ValueError(f"the mentor gives no label a probability of {self.settings.keep_threshold}")
        if fresh:
            self.context.restart(self.network, self.optimizer)
        self.teacher.load_state_dict(self.network.state_dict())
        self.teacher_started = False
        self.phase_step = 0

    def epoch_plan(self, epoch: int) -> list[Pass]:
        return [Pass()] if self.keep.all() else [Pass(rows=self.keep.nonzero()[:, 0])]

    def set_mode(self, *, training: bool) -> None:
        super().set_mode(training=training)
        self.mentor.eval()

    def training_step(self, batch: Batch) -> StepOutput:
        weight = self.consistency_weight(self.phase_step) if self.iteration > 0 else 0.0
        if weight == 0.0:
            self.phase_step += 1
            logits = self.network(batch.images)
            loss = F.cross_entropy(logits, batch.labels)
            self.context.step(loss, self.optimizer)
            return StepOutput(loss, logits)

        # 1. One forward pass; its graph serves cross-entropy and all M look-aheads.
        shared_graph = self.settings.order == "second" and self.settings.hessian == "shared-graph"
        forward = noisy_forward(self.network, batch.images, twice=shared_graph)
        loss = F.cross_entropy(forward.logits, batch.labels)

        # 2. The gradient of the disagreement with the teacher after a step on each synthetic label set.
        meta_gradient, disagreement = self.meta_gradient(forward, batch)

        # 3. One step on the sum of both gradients.
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for parameter, gradient in zip(forward.weights.values(), meta_gradient, strict=True):
            gradient = weight * gradient
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        self.context.apply_gradients(self.optimizer)
        self.phase_step += 1
        return StepOutput(loss + weight * disagreement, forward.logits, {"disagreement": disagreement})

    def meta_gradient(self, forward: NoisyForward, batch: Batch) -> tuple[list[Tensor], Tensor]:
        """The gradient of the mean disagreement over label sets (one per trainable weight), and its value."""
        settings = self.settings
        target = self._teacher_predictions(batch.images)
        label_sets = F.one_hot(self._synthetic_label_sets(batch), self.context.num_classes).to(target.dtype)

        def disagreement(logits: Tensor) -> Tensor:
            divergence = F.kl_div(F.log_softmax(logits, dim=1), target, reduction="batchmean")
            return divergence / (self.context.num_classes if settings.kl_reduction == "mean" else 1)

        gradient, value = look_ahead_gradient(
            self.network,
            forward,
            LabelSteps(label_sets, settings.inner_lr, self.context.average),
            disagreement,
            order=settings.order,
            hessian=settings.hessian,
        )
        return list(gradient.values()), value

    def consistency_weight(self, step: int) -> float:
        """A(t): 0 up to the start, then α·exp(−5(1 − u)²) with u rising from 0 to 1, then α."""
        settings = self.settings
        past = step - settings.start_step
        if past <= 0:
            return 0.0
        u = min(1.0, past / settings.ramp_steps) if settings.ramp_steps else 1.0
        return settings.consistency_weight * math.exp(-5 * (1 - u) ** 2)

    def teacher_decay(self, step: int) -> float:
        """ε(t)."""
        settings = self.settings
        return settings.ramp_decay if step <= settings.start_step + settings.ramp_steps else settings.decay

    @torch.no_grad()
    def _teacher_predictions(self, images: Tensor) -> Tensor:
        """Let the teacher follow the weights of the step before, and ask it: probabilities (N×C).

        It runs in train mode, on the batch's own statistics, as in the released code; its running statistics move by
        these passes alone.
        """
        update_ema(self.teacher, self.network, self.teacher_decay(self.phase_step) if self.teacher_started else 0.0)
        self.teacher_started = True
        return self.teacher(images).softmax(dim=1)

    @torch.no_grad()
    def _synthetic_label_sets(self, batch: Batch) -> Tensor:
        """M×N int64: this process's columns of label sets drawn over the global batch."""
        features = self.context.gather_rows(self.context.features(self.mentor, batch.images))
        labels = self.context.gather_rows(batch.labels)
        neighbours = nearest_neighbours(features, self.settings.neighbours)
        drawn = [
            synthetic_labels(
                labels, neighbours, self.settings.perturbed, self.context.generator("labels", batch.step, number)
            )
            for number in range(self.settings.label_sets)
        ]
        return self.context.my_rows(torch.stack(drawn, dim=1)).T

    def _teacher_or_student(self):
        """The teacher; the student where the phase has no teacher yet."""
        return self.teacher if self.teacher_started else self.network

    def predict(self, images: Tensor, head: str) -> Tensor:
        network = self._teacher_or_student() if head == "teacher" else self.network
        return network(images).softmax(dim=1)


def nearest_neighbours(features: Tensor, k: int) -> Tensor:
    """For each row, the k other rows nearest in Euclidean distance, nearest first (N×k int64).

    Args:
        features: N×D.
        k: clamped to N − 1.
    """
    distances = torch.cdist(features, features)
    distances.fill_diagonal_(torch.inf)
    return distances.topk(min(k, len(features) - 1), largest=False).indices


def synthetic_labels(labels: Tensor, neighbours: Tensor, fraction: float, drawn: np.random.Generator) -> Tensor:
    """A perturbed copy of a batch's labels: a random part of the samples take the label of one of their neighbours.

    Args:
        labels: N int64. Labels are copied from here, never from samples perturbed before.
        neighbours: N×k int64, rows of the batch.
        fraction: ρ; floor(ρ·N) samples are perturbed.
        drawn: makes the draws.
    """
    size, k = neighbours.shape
    perturbed = labels.clone()
    if k == 0:  # a batch of one sample has no neighbours
        return perturbed
    chosen = torch.from_numpy(drawn.permutation(size)[: int(fraction * size)]).to(labels.device)
    ranks = torch.from_numpy(drawn.integers(k, size=len(chosen))).to(labels.device)
    perturbed[chosen] = labels[neighbours[chosen, ranks]]
    return perturbed
