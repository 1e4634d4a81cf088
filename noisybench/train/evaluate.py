"""Measuring what :mod:`noisybench.spec.metrics` lists: on evaluation sets, of labels and suspicion, over training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from noisybench.data.loader import Stream
from noisybench.methods.base import LabelEstimate, Method
from noisybench.methods.estimates import odds_against_given
from noisybench.parallel.world import World
from noisybench.spec.metrics import LOSS, METHOD_LOGS, ON_TEST, EvaluationSet, Metric, measured_at, under_method


def accuracies(method: Method, stream: Stream, world: World) -> dict[str, float]:
    """The fraction of a stream each head of the method gets right."""
    return {head: accuracy for head, (accuracy,) in _averages(method, stream, world, [ON_TEST]).items()}


def evaluated(method: Method, stream: Stream, name: EvaluationSet, world: World) -> dict[str, float]:
    """What the benchmark measures on one evaluation set, for every head, by the names that rows have it under."""
    metrics = measured_at(name)
    return {
        metric.of_head(head, method.heads[0]): value
        for head, values in _averages(method, stream, world, metrics).items()
        for metric, value in zip(metrics, values, strict=True)
    }


@torch.no_grad()
def _averages(method: Method, stream: Stream, world: World, metrics: list[Metric]) -> dict[str, list[float]]:
    """By head, each metric's mean over a stream. Every sample counts once, over all processes."""
    method.set_mode(training=False)
    sums = torch.zeros(len(method.heads), len(metrics), dtype=torch.float64, device=stream.labels.device)
    for rows, images in stream.sweep(world.part(len(stream))):
        for number, head in enumerate(method.heads):
            probabilities = method.predict(images, head)
            for place, metric in enumerate(metrics):
                sums[number, place] += metric.counted(probabilities, stream.labels[rows]).sum(dtype=torch.float64)
    method.set_mode(training=True)
    totals = world.sum(sums).tolist()
    return {head: [total / len(stream) for total in of] for head, of in zip(method.heads, totals, strict=True)}


@torch.no_grad()
def suspicion_of_labels(method: Method, train: Stream, world: World) -> Tensor:
    """How suspicious the headline head finds the given label of every sample, not augmented: n float64.

    It is the log-odds against the given label, which orders samples as 1 − p(given label) does.
    """
    method.set_mode(training=False)
    found = torch.zeros(len(train), dtype=torch.float64, device=train.labels.device)
    for rows, images in train.sweep(world.part(len(train))):
        found[rows] = odds_against_given(method.predict(images, method.heads[0]), train.labels[rows])
    method.set_mode(training=True)
    return world.sum(found)


def label_quality(estimate: LabelEstimate, given: np.ndarray, true: np.ndarray | None) -> dict[str, float | None]:
    """How good the estimated training labels are.

    Args:
        estimate: the method's belief.
        given: n int64, noisy labels.
        true: n int64, clean labels, which only the benchmark knows; None where nobody knows them.

    Returns:
        The metrics that are measured of labels, by name; None where the true labels are unknown or it is not defined.
    """
    estimated = estimate.soft_labels.argmax(1).cpu().numpy()
    suspicion = estimate.suspicion.double().cpu().numpy()
    return _measured("labels", true, lambda metric: metric.counted(estimated, suspicion, given, true))


def detection_quality(
    suspicion: Tensor, given: np.ndarray, true: np.ndarray | None, share: float
) -> dict[str, float | None]:
    """How well suspicion finds the wrong training labels.

    Args:
        suspicion: n, larger means more likely wrongly labelled.
        given, true: as for :func:`label_quality`.
        share: the expected share of wrong labels, as it is known before the run.

    Returns:
        The metrics that are measured of suspicion, as for :func:`label_quality`.
    """
    values = suspicion.double().cpu().numpy()
    return _measured("suspicion", true, lambda metric: metric.counted(values, given, true, share))


def _measured(place: str, true: np.ndarray | None, count: Callable[[Metric], float | None]) -> dict[str, float | None]:
    metrics = measured_at(place)
    if true is None:
        return dict.fromkeys(metric.name for metric in metrics)
    values = {metric.name: count(metric) for metric in metrics}
    return {name: None if value is None else float(value) for name, value in values.items()}


class TrainingMeter:
    """Running means over an epoch's training steps, kept on the device: no step waits for the host.

    Of the loss, of what the benchmark measures over training steps (by the predictions in train mode; some of it only
    where true labels are known), and of what the method logs, under ``method/``.
    """

    def __init__(self, given: Tensor, true: Tensor | None, world: World):
        self._given, self._true, self._world = given, true, world
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, float] = {}
        self._first_bad = -1
        self._zero = torch.zeros((), dtype=torch.float64, device=given.device)
        # Of the steps that are not summed up yet: a step is only noted, so that the next can begin.
        self._steps: list[tuple[int, int, Tensor]] = []  # number, counted rows, loss
        self._logged: dict[str, list[tuple[Tensor | float, int]]] = {}
        self._predicted: list[tuple[Tensor, Tensor]] = []  # the rows in the train set, and what was predicted of them

    @torch.no_grad()
    def add(self, batch, output) -> None:
        """Count one step."""
        # A batch that all processes compute alone is counted by the main process.
        counted = not self._world.alone or self._world.is_main
        rows = len(batch.index) if counted else 0
        self._steps.append((batch.step, rows, output.loss.detach().clone()))
        for name, value in output.logs.items():
            kept = value.detach().clone() if isinstance(value, Tensor) else float(value)
            self._logged.setdefault(METHOD_LOGS + name, []).append((kept, rows))
        if output.logits is not None and counted:
            self._predicted.append((batch.index, output.logits.argmax(1)))

    @torch.no_grad()
    def _sum_up(self) -> None:
        """Add the steps that were noted to the sums."""
        if self._steps:
            losses = torch.stack([loss for *_, loss in self._steps])
            bad = (~losses.isfinite()).nonzero()
            if len(bad) and self._first_bad < 0:
                self._first_bad = self._steps[int(bad[0])][0]
            self._accumulate(LOSS.name, [(loss, rows) for _, rows, loss in self._steps])
        for name, values in self._logged.items():
            self._accumulate(name, values)
        if self._predicted:
            self._count(*(torch.cat(parts) for parts in zip(*self._predicted, strict=True)))
        self._steps, self._logged, self._predicted = [], {}, []

    def _accumulate(self, name: str, values: list[tuple[Tensor | float, int]]) -> None:
        """Add values, each times its rows, in their order."""
        totals = [torch.as_tensor(value * rows) for value, rows in values]
        alike = len({(total.dtype, total.device) for total in totals}) == 1  # one copy for all
        column = (torch.stack(totals) if alike else torch.stack([t.to(self._zero) for t in totals])).to(self._zero)
        column[0] += self._sums.get(name, self._zero)
        self._sums[name] = column.cumsum(0)[-1]
        self._counts[name] = self._counts.get(name, 0) + sum(rows for _, rows in values)

    def _count(self, index: Tensor, predicted: Tensor) -> None:
        given = self._given[index]
        true = None if self._true is None else self._true[index]
        for metric in measured_at("steps"):
            if metric.knows_truth and true is None:
                continue
            hits, among = metric.counted(predicted, given, true)
            total, count = (hits.sum(), len(index)) if among is None else ((hits & among).sum(), int(among.sum()))
            self._sums[metric.name] = self._sums.get(metric.name, self._zero) + total
            self._counts[metric.name] = self._counts.get(metric.name, 0) + count

    def first_bad_step(self) -> int | None:
        """The first step whose loss was not finite, on any process."""
        self._sum_up()
        steps = torch.full((self._world.size,), -1, dtype=torch.int64, device=self._zero.device)
        steps[self._world.rank] = self._first_bad
        steps = self._world.total(steps + 1) - 1
        bad = steps[steps >= 0]
        return int(bad.min()) if len(bad) else None

    def state_dict(self) -> dict[str, Any]:
        """The sums so far over all processes, which all call it: a later run may have another number of them."""
        self._sum_up()
        names = sorted(self._sums)
        totals = [self._world.total(torch.stack(self._total_and_count(name))) for name in names]
        bad = self.first_bad_step()
        return {"totals": dict(zip(names, totals, strict=True)), "first_bad": -1 if bad is None else bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what :meth:`state_dict` gave; the main process carries it on."""
        for name, saved in state["totals"].items():
            total, count = saved.to(self._zero.device) * self._world.is_main
            self._sums[under_method(name)], self._counts[under_method(name)] = total, float(count)
        self._first_bad = int(state["first_bad"])

    def means(self) -> dict[str, float]:
        """Means over all processes' rows of the epoch."""
        self._sum_up()
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
            torch.tensor(self._counts[name], dtype=torch.float64, device=self._zero.device),
        ]
