"""What a user may write against the public API; pyright checks it in strict mode (test_public_api.py). Never run."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

import noisybench
from noisybench.conformance import check_method
from noisybench.meta import (
    InnerStep,
    LabelSteps,
    MetaBatch,
    example_weight_meta_gradient,
    label_direction,
    label_meta_gradient,
    look_ahead_gradient,
    look_ahead_tangent,
    noisy_forward,
    soft_label_loss,
)
from noisybench.methods import Batch, Epochs, LabelEstimate, Method, Pass, Settings, StepOutput


def run_and_read(folder: Path) -> float | None:
    config = noisybench.RunConfig(method="mslg", noise="symmetric", noise_rate=0.6, epochs=2, output=folder)
    record = noisybench.run(config, resume=True)
    again = noisybench.RunRecord.load(folder / "result.json")
    curve: list[float | None] = again.curves["test_accuracy"]
    print(again.run_id, again.status, curve[-1], record.cost.wall_seconds, record.fingerprints.noise)
    return record.metrics["test_accuracy_last"]


def own_loop(model: nn.Module, images: Tensor, label_logits: Tensor, meta: tuple[Tensor, Tensor]) -> Tensor:
    gradient = label_meta_gradient(model, images, label_logits, *meta, inner_lr=0.5, label_floor=1e-10, engine="head")
    weights = example_weight_meta_gradient(model, images, meta[1], *meta, inner_lr=0.1)
    forward = noisy_forward(model, images, keep_outputs=True)
    step = InnerStep(soft_label_loss(forward.logits, label_logits), lr=0.5)
    found = look_ahead_tangent(model, forward, step, MetaBatch.labelled(*meta))
    direction = label_direction(forward.logits.detach(), found.logits_dot, label_logits)
    steps = LabelSteps(torch.stack([label_logits.softmax(1)]), lr=0.02)
    by_name, loss = look_ahead_gradient(model, forward, steps, lambda logits: logits.square().mean(), order="first")
    print(found.meta_loss.item(), loss.item(), sorted(by_name))
    return gradient + direction + weights[:, None]


class TemperedSettings(Settings):
    """The settings of a method of one's own."""

    warmup_epochs: Epochs = 5
    temperature: float = Field(default=1.0, gt=0)


class Tempered(Method):
    """A method of one's own that overrides every hook."""

    Settings = TemperedSettings
    settings: TemperedSettings
    needs: ClassVar[frozenset[str]] = frozenset({"meta_set", "noise_rate"})
    heads = ("network", "second")
    views = 2
    forward_equivalents = 6.0

    def build(self) -> None:
        super().build()
        self.second = self.context.make_network()
        self.second_optimizer = self.context.make_optimizer(self.second)
        self.context.store.add("seen", torch.zeros(len(self.context.given_labels)))
        self.forward_equivalents = 6.0 if self.settings.temperature > 1 else 3.0

    def start_epoch(self, epoch: int) -> None:
        if epoch == self.settings.warmup_epochs:
            losses = self.context.full_pass(lambda images, index: self.network(images)[:, 0] + index)
            self.context.store.replace("seen", losses)

    def epoch_plan(self, epoch: int) -> list[Pass]:
        return [Pass(), Pass(tag=1)]

    def training_step(self, batch: Batch) -> StepOutput:
        meta_images, meta_labels = batch.meta
        logits: Tensor = self.network(batch.views[1]) / self.settings.temperature
        clean = F.cross_entropy(self.second(meta_images), meta_labels)
        self.context.step(clean, self.second_optimizer, share=self.context.meta_share)
        loss = F.cross_entropy(logits, batch.labels) * (1 - self.context.noise_rate)
        self.context.step(loss, self.optimizer)
        drawn = self.context.generator("rows", batch.epoch).permutation(len(batch.index))
        self.context.store.write("seen", batch.index, self.context.store.read("seen", batch.index) + drawn[0])
        return StepOutput(loss, logits, {"clean": clean})

    def predict(self, images: Tensor, head: str) -> Tensor:
        network = self.network if head == "network" else self.second
        return network(images).softmax(dim=1)

    def estimate_labels(self) -> LabelEstimate | None:
        return LabelEstimate(self.context.one_hot_labels(), self.context.store["seen"])

    def epoch_logs(self) -> dict[str, float]:
        return {"seen": float(self.context.store["seen"].mean())}


class OneLoss(Method):
    """A method that is a loss."""

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(logits, batch.labels)


def conforms() -> bool:
    report = check_method("ce", {"settings": {}})
    return report.passed and report.problems == []
