"""Methods that break the contract, each in one way. Named on the command line as ``broken_methods:Class``."""

from __future__ import annotations

import collections
import random
import time
import types
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from noisybench.methods import LabelEstimate, Method, Settings, StepOutput
from noisybench.methods.ce import CrossEntropy


class ReadsNoiseRate(CrossEntropy):
    def loss(self, logits, batch):
        return (1 - self.context.noise_rate) * super().loss(logits, batch)


class ReadsNoiseRateInBuild(CrossEntropy):
    def build(self):
        super().build()
        self.rate = self.context.noise_rate


class ReadsPriors(CrossEntropy):
    def training_step(self, batch):
        self.rates = self.context.priors["transition_matrix"].diagonal()
        return super().training_step(batch)


class ReadsItsRank(CrossEntropy):
    def training_step(self, batch):
        self.first = self.context.world.rank == 0
        return super().training_step(batch)


class ReadsTheNumberOfProcesses(CrossEntropy):
    def loss(self, logits, batch):
        return super().loss(logits, batch) / self.context.world.size


class AsksHowItIsRun(CrossEntropy):
    def build(self):
        super().build()
        self.alone = self.context.world._accelerator.num_processes == 1


class UnknownNeed(CrossEntropy):
    needs: ClassVar[frozenset[str]] = frozenset({"true_labels"})


class HistoryInLists(CrossEntropy):
    """Weights the loss by how many batches it has seen; the lists start empty and grow."""

    def build(self):
        super().build()
        self.history = {"losses": []}

    def loss(self, logits, batch):
        self.history["losses"].append(len(batch.index))
        return super().loss(logits, batch) / len(self.history["losses"])


class CountInClosure(CrossEntropy):
    def build(self):
        super().build()
        count = 0

        def weight():
            nonlocal count
            count += 1
            return 1 / count

        self.weight = weight

    def loss(self, logits, batch):
        return self.weight() * super().loss(logits, batch)


class StateOfNumPy(CrossEntropy):
    """Keeps its state in an array, which is neither tensor nor number."""

    def build(self):
        super().build()
        self.seen = np.zeros(1)

    def loss(self, logits, batch):
        self.seen += 1
        return super().loss(logits, batch) / float(self.seen[0])


class StateInAnObject(CrossEntropy):
    def build(self):
        super().build()
        self.memory = types.SimpleNamespace(seen=0)

    def loss(self, logits, batch):
        self.memory.seen += 1
        return super().loss(logits, batch) / self.memory.seen


class StateInADeque(CrossEntropy):
    def build(self):
        super().build()
        self.recent = collections.deque([1.0], maxlen=3)

    def loss(self, logits, batch):
        self.recent.append(len(self.recent) + 0.5 * self.recent[-1])
        return super().loss(logits, batch) / self.recent[-1]


class StateInAGenerator(CrossEntropy):
    def build(self):
        super().build()
        self.drawn = self.context.generator("weights")

    def loss(self, logits, batch):
        return super().loss(logits, batch) * self.drawn.uniform(0.5, 1.5)


class StateInASchedule(CrossEntropy):
    """A scheduler of torch's counts its own steps."""

    def build(self):
        super().build()
        self.own = torch.optim.SGD(self.network.parameters(), lr=0.05)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.own, lambda step: 1 / (1 + step))

    def training_step(self, batch):
        logits = self.network(batch.images)
        loss = self.loss(logits, batch)
        self.context.step(loss, self.own)
        self.schedule.step()
        return StepOutput(loss, logits)


class StateOnTheContext(CrossEntropy):
    def build(self):
        super().build()
        self.context.seen = 0

    def loss(self, logits, batch):
        self.context.seen += 1
        return super().loss(logits, batch) / self.context.seen


class ForeignState(CrossEntropy):
    def state_dict(self):
        return {**super().state_dict(), "when": time}


class DrawsFromPython(CrossEntropy):
    def loss(self, logits, batch):
        return random.random() * super().loss(logits, batch)


class DrawsFromNumPy(CrossEntropy):
    def start_epoch(self, epoch):
        self.weight = float(np.random.random())


class DrawsFromTorchInBuild(CrossEntropy):
    def build(self):
        super().build()
        self.weight = torch.rand(())


class DrawsFromTorchInStartEpoch(CrossEntropy):
    def build(self):
        super().build()
        self.weight = torch.zeros(())

    def start_epoch(self, epoch):
        self.weight.copy_(torch.rand(()))

    def loss(self, logits, batch):
        return (1 + self.weight) * super().loss(logits, batch)


class ReadsTheClock(CrossEntropy):
    def loss(self, logits, batch):
        return (1 + time.perf_counter() % 1) * super().loss(logits, batch)


class LearnsFromPredicting(CrossEntropy):
    """Evaluation moves BatchNorm's running statistics."""

    def predict(self, images, head):
        self.network.train()
        return super().predict(images, head)


class SumsItsLoss(CrossEntropy):
    def loss(self, logits, batch):
        return F.cross_entropy(logits, batch.labels, reduction="sum")


class SumsAPenalty(CrossEntropy):
    """The mean, and a penalty that is a sum over rows, after its warm-up."""

    def loss(self, logits, batch):
        entropy = -(logits.softmax(1) * logits.log_softmax(1)).sum()
        return super().loss(logits, batch) - 0.05 * (batch.epoch >= 1) * entropy


class StepsOnASum(CrossEntropy):
    """Reports a mean, and descends a sum."""

    def training_step(self, batch):
        logits = self.network(batch.images)
        loss = self.loss(logits, batch)
        self.context.step(0.01 * loss * len(batch.index), self.optimizer)
        return StepOutput(loss, logits)


class StepsOnASumByItself(CrossEntropy):
    def training_step(self, batch):
        logits = self.network(batch.images)
        loss = self.loss(logits, batch)
        self.optimizer.zero_grad()
        (0.01 * loss * len(batch.index)).backward()
        self.optimizer.step()
        return StepOutput(loss, logits)


class KeepsTenRowsMore(CrossEntropy):
    def build(self):
        super().build()
        self.weights = torch.ones(len(self.context.given_labels) + 10)

    def loss(self, logits, batch):
        return (F.cross_entropy(logits, batch.labels, reduction="none") * self.weights[batch.index]).mean()


class EmbedsOneRowMore(CrossEntropy):
    def build(self):
        super().build()
        self.rows = torch.nn.Embedding(len(self.context.given_labels) + 1, 10, device="meta").to_empty(device="cpu")
        torch.nn.init.zeros_(self.rows.weight)


class GrowsItsColumn(CrossEntropy):
    def build(self):
        super().build()
        self.context.store.add("weights", torch.ones(len(self.context.given_labels)))

    def start_epoch(self, epoch):
        column = self.context.store["weights"]
        if len(column) == self.context.store.num_rows:
            column.resize_(len(column) + 5).fill_(1)


class AddsRowsToTheStore(CrossEntropy):
    def build(self):
        super().build()
        self.context.store.add("weights", torch.ones(len(self.context.given_labels) + 5))


class SpreadsOneRowOverTheStore(CrossEntropy):
    def build(self):
        super().build()
        self.context.store.add("weights", torch.ones(len(self.context.given_labels)))
        self.context.store.replace("weights", torch.zeros(1))


class NotANumber(CrossEntropy):
    def training_step(self, batch):
        output = super().training_step(batch)
        return StepOutput(output.loss * float("nan"), output.logits) if batch.step == 4 else output


class LogsNotANumber(CrossEntropy):
    def epoch_logs(self):
        return {"ratio": float("nan")}


class LearnsNothing(CrossEntropy):
    def loss(self, logits, batch):
        return 0 * super().loss(logits, batch)


class LearnsTheWrongClass(CrossEntropy):
    def loss(self, logits, batch):
        return F.cross_entropy(logits, (batch.labels + 1) % self.context.num_classes)


class Logits(CrossEntropy):
    """Predicts logits where probabilities are due."""

    def predict(self, images, head):
        return self.network(images)


class HalfProbabilities(CrossEntropy):
    heads: ClassVar[tuple[str, ...]] = ("network", "half")

    def predict(self, images, head):
        probabilities = super().predict(images, head)
        return probabilities / 2 if head == "half" else probabilities


class OneEstimateTooFew(CrossEntropy):
    def estimate_labels(self):
        given = F.one_hot(self.context.given_labels, self.context.num_classes).float()
        return LabelEstimate(given[1:], torch.zeros(len(given)))


class EstimateOffTheSimplex(CrossEntropy):
    def estimate_labels(self):
        given = F.one_hot(self.context.given_labels, self.context.num_classes).float()
        return LabelEstimate(2 * given, torch.zeros(len(given)))


class RaisesAtStep3(CrossEntropy):
    def training_step(self, batch):
        if batch.step == 3:
            raise RuntimeError("out of ideas")
        return super().training_step(batch)


class RaisesInPredict(CrossEntropy):
    def predict(self, images, head):
        raise RuntimeError("no prediction today")


class CastsToFloat32(CrossEntropy):
    def predict(self, images, head):
        return super().predict(images, head).float()


class NeedsBatchNorm(CrossEntropy):
    def build(self):
        super().build()
        self.mean = self.network.get_buffer("convolutions.1.running_mean")


class CorrectsLabelsInPlace(CrossEntropy):
    def start_epoch(self, epoch):
        self.context.given_labels[0] = (self.context.given_labels[0] + 1) % self.context.num_classes


class NeverLeavesWarmUp(CrossEntropy):
    class Settings(Settings):
        warmup_epochs: int = 10


class NoDefault(CrossEntropy):
    class Settings(Settings):
        strength: float


class DefinesNothing(Method):
    pass


class HoldsItsConfig(CrossEntropy):
    """What a leak in the benchmark would look like: a reference to the run's configuration."""

    def build(self):
        super().build()
        from noisybench import RunConfig

        config = RunConfig()
        self.callback = lambda: config


class MixesWithoutShares(CrossEntropy):
    """The mean over the rows of even classes plus the mean over those of odd ones: each is over other rows than the
    batch's, so a process's part of them is another one than its part of the batch."""

    def loss(self, logits, batch):
        each = F.cross_entropy(logits, batch.labels, reduction="none")
        even = (batch.labels % 2 == 0).to(each.dtype)
        return sum((each * part).sum() / part.sum().clamp_min(1) for part in (even, 1 - even))


class MixesWithShares(CrossEntropy):
    """The same, right: the weights are normalised over the global batch."""

    def loss(self, logits, batch):
        each = F.cross_entropy(logits, batch.labels, reduction="none")
        even = (batch.labels % 2 == 0).to(each.dtype)
        weights = 0
        for part in (even, 1 - even):
            weights = weights + part / self.context.gather_rows(part).sum().clamp_min(1)
        return self.context.weighted_mean(each, weights)


class WritesItsOwnRows(CrossEntropy):
    """Per-sample state that each process writes for its own rows alone."""

    def build(self):
        super().build()
        self.seen = torch.zeros(len(self.context.given_labels), dtype=self.context.dtype)

    def loss(self, logits, batch):
        self.seen[batch.index] += 1
        return super().loss(logits, batch)


class RaisesOnOneProcess(CrossEntropy):
    def training_step(self, batch):
        if len(batch.index) == 29:
            raise RuntimeError("29 rows")
        return super().training_step(batch)
