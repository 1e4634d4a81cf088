"""Whether losses are means over a batch's rows: where each row comes again a mean is the same, and a sum has grown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from noisybench.conformance.finding import Finding
from noisybench.conformance.trial import Saved, Trial
from noisybench.data.loader import Batch
from noisybench.methods.base import StepOutput, optimizers_of

# How far two batches may differ that hold the same rows: methods draw mixtures and pick whole numbers of rows.
OFF = {"loss": 0.25, "gradient": 0.6}
NOTHING = 1e-6
# A sum over rows that come twice and four times grows once and then twice as much; what is drawn anew does neither.
GROWTH = 1.5, 2.7


def check_means(make: Callable[[], Trial], saved: Saved | None) -> None:
    """Take one step on half a batch, and others on the same rows twice and four times, from one state.

    Raises:
        Finding: a loss or a gradient grows with the rows.
    """
    once, twice, fourfold = (_measured(make(), saved, repeats) for repeats in (1, 2, 4))
    step = 0 if saved is None else saved.step
    for (what, kind, mean), (second, _, doubled), (fourth, _, again) in zip(once, twice, fourfold, strict=False):
        grown, more = doubled - mean, again - doubled
        if what != second or what != fourth or abs(grown) <= max(OFF[kind] * abs(mean), NOTHING):
            continue
        if GROWTH[0] < more / grown < GROWTH[1]:
            ratio = f"{doubled / mean:.2g} times as large" if mean else "another"
            raise Finding(
                "means",
                f"with every row of a batch twice, {what} is {ratio}: give the mean over the "
                f"batch's rows, not their sum",
                step,
            )


def _measured(trial: Trial, saved: Saved | None, repeats: int) -> list[tuple[str, str, float]]:
    """What one step on the rows of half a batch is made of: each loss and the length of each gradient, in order."""
    if saved is not None:
        trial.put_back(saved)
    method, found = trial.method, []
    take_step, own_step = method.context.step, method.training_step

    def step(loss: Tensor, *arguments: Any, **more: Any) -> None:
        found.append(("the loss given to context.step", "loss", float(loss.detach())))
        take_step(loss, *arguments, **more)

    def training_step(batch: Batch) -> StepOutput:
        output = own_step(_of_half(batch, repeats))
        if isinstance(output, StepOutput):
            found.append(("StepOutput.loss", "loss", float(output.loss.detach())))
            output = dataclasses.replace(output, logits=None)  # of another number of rows than the loop's
        return output

    def measure(optimizer: torch.optim.Optimizer, *_: object) -> None:
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        length = torch.stack([gradient.norm() for gradient in gradients]).norm() if gradients else torch.zeros(())
        found.append(("a gradient", "gradient", float(length)))

    # On the method at hand alone: none of it is state.
    vars(method.context)["step"], vars(method)["training_step"] = step, training_step
    for optimizer in optimizers_of(method).values():
        optimizer.register_step_pre_hook(measure)
    next(trial.steps(trial.session.epochs_left()[0]), None)
    return found


def _of_half(batch: Batch, repeats: int) -> Batch:
    """The first half of a batch's rows, so many times."""

    def half(rows: Tensor) -> Tensor:
        return rows[: (len(rows) + 1) // 2].repeat(repeats, *[1] * (rows.ndim - 1))

    index = half(batch.index)
    meta_images, meta_labels = batch.meta_images, batch.meta_labels
    return dataclasses.replace(
        batch,
        index=index,
        views=[half(view) for view in batch.views],
        labels=half(batch.labels),
        global_size=len(index),
        meta_images=None if meta_images is None else half(meta_images),
        meta_labels=None if meta_labels is None else half(meta_labels),
        paired=None if batch.paired is None else _of_half(batch.paired, repeats),
    )
