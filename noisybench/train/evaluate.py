"""What a run measures: accuracies of every head, and the quality of estimated labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisybench.data.loader import Stream
from noisybench.methods.base import LabelEstimate, Method
from noisybench.parallel.world import World


@torch.no_grad()
def accuracies(method: Method, stream: Stream, world: World) -> dict[str, float]:
    """The fraction of a stream each head of the method gets right. Every sample counts once, over all processes."""
    method.set_mode(training=False)
    correct = torch.zeros(len(method.heads), dtype=torch.int64, device=stream.labels.device)
    for rows, images in stream.sweep(world.part(len(stream))):
        for number, head in enumerate(method.heads):
            correct[number] += (method.predict(images, head).argmax(1) == stream.labels[rows]).sum()
    method.set_mode(training=True)
    totals = world.sum(correct).tolist()
    return {head: total / len(stream) for head, total in zip(method.heads, totals, strict=True)}


def label_quality(estimate: LabelEstimate, given: np.ndarray, true: np.ndarray | None) -> dict[str, float | None]:
    """How good the estimated training labels are.

    Args:
        estimate: the method's belief.
        given: n int64, noisy labels.
        true: n int64, clean labels, which only the benchmark knows; None where nobody knows them.

    Returns:
        ``label_accuracy_given``, ``label_accuracy_estimated`` and ``noise_detection_auroc`` (the probability that a
        wrongly labelled sample is more suspicious than a rightly labelled one, ties counted half; None if the labels
        are all right or all wrong). All None where the true labels are unknown.
    """
    if true is None:
        return dict.fromkeys(("label_accuracy_given", "label_accuracy_estimated", "noise_detection_auroc"))
    from sklearn.metrics import roc_auc_score

    wrong = given != true
    auroc = None
    if wrong.any() and not wrong.all():
        auroc = float(roc_auc_score(wrong, estimate.suspicion.double().cpu().numpy()))
    estimated = estimate.soft_labels.argmax(1).cpu().numpy()
    return {
        "label_accuracy_given": float(np.mean(~wrong)),
        "label_accuracy_estimated": float(np.mean(estimated == true)),
        "noise_detection_auroc": auroc,
    }


class TrainingMeter:
    """Running means over an epoch's training steps, kept on the device: no step waits for the host.

    Besides the loss: accuracy of the train-mode predictions against the given and the true labels, and how much of
    the wrongly labelled part is memorised (predicted as its wrong label); the last two where true labels are known.
    """

    def __init__(self, given: Tensor, true: Tensor | None, world: World):
        self._given, self._true, self._world = given, true, world
        self._wrong = None if true is None else given != true
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = {}
        self._first_bad = torch.full((), -1, dtype=torch.int64, device=given.device)
        self._zero = torch.zeros((), dtype=torch.float64, device=given.device)

    @torch.no_grad()
    def add(self, batch, output) -> None:
        """Count one step."""
        # A batch that all processes compute alone is counted by the main process.
        counted = int(not self._world.alone or self._world.is_main)
        rows = len(batch.index) * counted
        bad = ~torch.isfinite(output.loss) & (self._first_bad < 0)
        self._first_bad = torch.where(bad, batch.step, self._first_bad)
        for name, value in {"loss": output.loss, **output.logs}.items():
            self._accumulate(name, value.detach() * rows, rows)
        if output.logits is not None:
            predicted = output.logits.argmax(1)
            hits_given = predicted == self._given[batch.index]
            self._accumulate("train_accuracy_given", hits_given.sum() * counted, rows)
            if self._true is None:
                return
            self._accumulate("train_accuracy_true", (predicted == self._true[batch.index]).sum() * counted, rows)
            wrong = self._wrong[batch.index]
            self._accumulate("memorised", (hits_given & wrong).sum() * counted, wrong.sum() * counted)

    def _accumulate(self, name: str, total: Tensor, count) -> None:
        self._sums[name] = self._sums.get(name, self._zero) + total
        self._counts[name] = self._counts.get(name, 0) + count

    def first_bad_step(self) -> int | None:
        """The first step whose loss was not finite, on any process."""
        steps = torch.full((self._world.size,), -1, dtype=torch.int64, device=self._first_bad.device)
        steps[self._world.rank] = self._first_bad
        steps = self._world.total(steps + 1) - 1
        bad = steps[steps >= 0]
        return int(bad.min()) if len(bad) else None

    def state_dict(self) -> dict[str, Any]:
        """The sums so far over all processes, which all call it: a later run may have another number of them."""
        names = sorted(self._sums)
        totals = [self._world.total(torch.stack(self._total_and_count(name))) for name in names]
        bad = self.first_bad_step()
        return {"totals": dict(zip(names, totals, strict=True)), "first_bad": -1 if bad is None else bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave; the main process carries it on."""
        for name, saved in state["totals"].items():
            total, count = saved.to(self._zero.device) * self._world.is_main
            self._accumulate(name, total, count)
        self._first_bad.fill_(state["first_bad"])

    def means(self) -> dict[str, float]:
        """Means over all processes' rows of the epoch."""
        found = {}
        for name in sorted(self._sums):
            total, count = self._world.sum(torch.stack(self._total_and_count(name))).tolist()
            if count:
                found[name] = total / count
        return found

    def _total_and_count(self, name: str) -> list[Tensor]:
        """A running mean's two parts, float64."""
        return [
            self._sums[name].double(),
            torch.as_tensor(self._counts[name], dtype=torch.float64, device=self._zero.device),
        ]
