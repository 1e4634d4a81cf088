"""The learning rate that the optimizers really have in each epoch, against each schedule's closed form."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import noisybench
from noisybench.methods import Method, StepOutput

BASE, EPOCHS = 0.3, 7
STEPS = [[0, 0.3], [2, 0.05], [5, 0.007]]
SCHEDULES = {
    "constant": ({"name": "constant"}, lambda e: BASE),
    "steps": ({"name": "steps", "steps": STEPS}, lambda e: 0.3 if e < 2 else 0.05 if e < 5 else 0.007),
    "cosine": (
        {"name": "cosine", "floor": 0.01},
        lambda e: 0.01 + (BASE - 0.01) * (1 + math.cos(math.pi * e / EPOCHS)) / 2,
    ),
    "cosine-restarts": (
        {"name": "cosine-restarts", "period": 3, "floor": 0.02},
        lambda e: 0.02 + (BASE - 0.02) * (1 + math.cos(math.pi * (e % 3) / 3)) / 2,
    ),
    "linear": ({"name": "linear", "start": 3}, lambda e: BASE if e <= 3 else BASE * (7 - e) / 4),
    "triangular": (
        {"name": "triangular", "warmup": 2},
        lambda e: BASE * (e + 1) / 3 if e <= 2 else BASE * (7 - e) / 5,
    ),
}

rates: list[tuple[str, int, list[float]]] = []  # when, epoch, the rate of each group of each optimizer


class ReadsRates(Method):
    """Two networks with an optimizer each, and a third optimizer of the method's own."""

    def build(self):
        self.networks = [nn.Linear(1, 1), nn.Linear(1, 1)]
        self.optimizers = [self.context.make_optimizer(network) for network in self.networks]
        self.optimizers[1].add_param_group({"params": [nn.Parameter(torch.zeros(1))], "lr": 9.0})
        self.own = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.123)

    def read(self, when: str, epoch: int) -> None:
        rates.append((when, epoch, [group["lr"] for each in self.optimizers for group in each.param_groups]))
        assert self.own.param_groups[0]["lr"] == 0.123

    def start_epoch(self, epoch):
        self.read("start", epoch)

    def training_step(self, batch):
        self.read("step", batch.epoch)
        return StepOutput(torch.zeros(()))

    def predict(self, images, head):
        return torch.ones(len(images), self.context.num_classes)


class SetsItsOwnRate(ReadsRates):
    """As a method whose second phase has a rate of its own."""

    def start_epoch(self, epoch):
        if epoch >= 2:
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = 0.001 * epoch


def config(output, method: str, **changes) -> noisybench.RunConfig:
    given = {"method": f"test_learning_rate_in_use:{method}", "limit_train": 200, "epochs": EPOCHS}
    return noisybench.RunConfig(**{**given, "output": output, **changes})


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_scheduled_optimizer_has_the_rate_of_its_epoch(tmp_path, schedule, name):
    shape, expected = SCHEDULES[schedule]
    rates.clear()
    record = noisybench.run(
        config(tmp_path / "run", "ReadsRates", schedule=shape, optimizer={"name": name, "lr": BASE})
    )
    assert {(when, epoch) for when, epoch, _ in rates} == {(w, e) for w in ("start", "step") for e in range(EPOCHS)}
    for when, epoch, found in rates:
        assert found == [pytest.approx(expected(epoch), rel=1e-12)] * 3, (when, epoch)
    assert record.curves["learning_rate"] == pytest.approx([expected(epoch) for epoch in range(EPOCHS)], rel=1e-12)


def test_a_rate_that_the_method_sets_itself_is_recorded(tmp_path):
    record = noisybench.run(
        config(tmp_path / "run", "SetsItsOwnRate", schedule={"name": "constant"}, optimizer={"lr": BASE})
    )
    assert record.curves["learning_rate"] == pytest.approx([BASE, BASE, *(0.001 * epoch for epoch in range(2, EPOCHS))])
