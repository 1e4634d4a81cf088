"""A session by itself, and what the job around it leaves as it was."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from worlds import process

import noisybench
from noisybench.core.errors import MethodError
from noisybench.methods import Pass, StepOutput
from noisybench.methods.ce import CrossEntropy
from noisybench.spec.record import RunRecord
from noisybench.train.build import Place
from noisybench.train.prepare import prepare, streams
from noisybench.train.session import Session

HERE = "test_session"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """``HERE:Class`` names a method of this file."""
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def config(method: str = "ce", **changes) -> noisybench.ResolvedConfig:
    given = {"method": method, "limit_train": 200, "epochs": 2, "batch_size": 50, "model": "noisybench_mlp"}
    return noisybench.resolve(noisybench.RunConfig(**given | changes))


def session(run_config: noisybench.ResolvedConfig) -> Session:
    place = Place(process(), torch.device("cpu"), torch.float32)
    return Session(run_config, prepare(run_config), place)


def test_a_session_trains_as_a_run_does(tmp_path):
    """By hand, without a folder, signals or a progress bar: the same curves and weights."""
    record = noisybench.run(config("mslg", settings={"warmup_epochs": 1}, output=tmp_path / "run"))
    made = session(config("mslg", settings={"warmup_epochs": 1}))
    with torch.random.fork_rng():
        for epoch in made.epochs_left():
            steps = [step.batch.step for step in made.train(epoch)]
            assert steps == list(range(len(steps) * epoch, len(steps) * (epoch + 1)))
            assert made.evaluate()["epoch"] == epoch
    assert list(made.epochs_left()) == []
    for name, curve in record.curves.items():
        assert [row.get(name) for row in made.past.curves] == curve, name


def test_a_session_goes_on_from_its_state():
    whole, paused = session(config()), session(config())
    with torch.random.fork_rng():
        for epoch in whole.epochs_left():
            list(whole.train(epoch))
            whole.evaluate()
        running = paused.train(0)
        next(running), next(running)
        paused.pause()
        state = paused.state_dict()
        resumed = session(config())
        resumed.load_state_dict(state)
        assert resumed.past.step == 2 and list(resumed.epochs_left()) == [0, 1]
        for epoch in resumed.epochs_left():
            assert [step.batch.step for step in resumed.train(epoch)][0] == (2 if epoch == 0 else whole.past.step // 2)
            resumed.evaluate()
    assert resumed.past.curves == whole.past.curves
    for name, weight in whole.method.network.state_dict().items():
        assert torch.equal(weight, resumed.method.network.state_dict()[name]), name


class OwnRate(CrossEntropy):
    """Halves the schedule's rate in the second epoch."""

    def start_epoch(self, epoch):
        if epoch == 1:
            self.optimizer.param_groups[0]["lr"] /= 2


def test_the_recorded_rate_is_the_optimizers(tmp_path):
    given = {"optimizer": {"lr": 0.1}, "schedule": {"name": "steps", "steps": [(0, 0.1), (1, 0.04)]}}
    record = noisybench.run(config(f"{HERE}:OwnRate", **given, output=tmp_path / "run"))
    assert record.curves["learning_rate"] == [0.1, 0.02]


class Recorder(CrossEntropy):
    """Keeps what type new float tensors were of while it was built and trained."""

    seen: list = []

    def build(self):
        super().build()
        self.seen.append(torch.zeros(1).dtype)

    def loss(self, logits, batch):
        self.seen.append(torch.ones(1).dtype)
        return super().loss(logits, batch)


def test_the_callers_default_type_changes_no_run(tmp_path):
    records = []
    for name, dtype in (("float32", torch.float32), ("float64", torch.float64)):
        torch.set_default_dtype(dtype)
        try:
            records.append(noisybench.run(config(f"{HERE}:Recorder", output=tmp_path / name)))
            assert torch.get_default_dtype() == dtype
        finally:
            torch.set_default_dtype(torch.float32)
    assert set(Recorder.seen) == {torch.float32}
    assert records[0].run_id == records[1].run_id
    assert records[0].fingerprints == records[1].fingerprints and records[0].curves == records[1].curves


def broken(**hooks) -> type[CrossEntropy]:
    return type("Broken", (CrossEntropy,), hooks)


LOSS_ALONE = {"training_step": lambda self, batch: self.network(batch.images).mean()}
BROKEN = {
    "nothing": ({"training_step": lambda self, batch: None}, "training_step gave None: return a StepOutput"),
    "bare loss": (LOSS_ALONE, "training_step gave a tensor of shape () and type float32: return a StepOutput"),
    "vector": (
        {"training_step": lambda self, batch: StepOutput(torch.zeros(3))},
        "its loss is a tensor of shape (3,) and type float32, not a scalar tensor of floats",
    ),
    "number": ({"training_step": lambda self, batch: StepOutput(0.5)}, "its loss is a float, not a scalar tensor"),
    "logits": (
        {"training_step": lambda self, batch: StepOutput(torch.zeros(()), torch.zeros(1, 3))},
        "StepOutput.logits is a tensor of shape (1, 3) and type float32, not a tensor of shape (50, 10)",
    ),
    "no plan": ({"epoch_plan": lambda self, epoch: None}, "epoch_plan gave None: return a list of Pass"),
    "empty plan": ({"epoch_plan": lambda self, epoch: []}, "epoch_plan leaves no row to train on"),
    "empty sieve": (
        {"epoch_plan": lambda self, epoch: [Pass(rows=torch.arange(0))]},
        "epoch_plan leaves no row to train on",
    ),
    "rows outside": (
        {"epoch_plan": lambda self, epoch: [Pass(rows=torch.tensor([0, 5000]))]},
        "Pass.rows names rows 0 to 5000; the train set has rows 0 to ",
    ),
    "negative rows": ({"epoch_plan": lambda self, epoch: [Pass(rows=torch.tensor([-1, 3]))]}, "names rows -1 to 3"),
    "mask": (
        {"epoch_plan": lambda self, epoch: [Pass(rows=torch.ones(9, dtype=torch.bool))]},
        "Pass.rows is a tensor of shape (9,) and type bool: give a vector of int64 rows",
    ),
    "array": ({"epoch_plan": lambda self, epoch: [Pass(rows=np.arange(3))]}, "Pass.rows is a ndarray"),
    "pairs": (
        {"epoch_plan": lambda self, epoch: [Pass(paired_rows=torch.arange(0))]},
        "Pass.paired_rows is empty",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_hook_that_gives_something_else_is_one_line(tmp_path, monkeypatch, name):
    hooks, said = BROKEN[name]
    monkeypatch.setattr(sys.modules[__name__], "Broken", broken(**hooks), raising=False)
    with pytest.raises(MethodError) as raised:
        noisybench.run(config(f"{HERE}:Broken", output=tmp_path / "run"))
    assert said in str(raised.value) and str(raised.value).count("\n") == 0
    assert RunRecord.load(tmp_path / "run" / "result.json").status == "failed"


def test_pixels_that_are_not_normalised():
    config = noisybench.resolve(
        noisybench.RunConfig(dataset="synthetic", noise_rate=0.2, preprocess={"mean": [0.0] * 3, "std": [1.0] * 3})
    )
    data = prepare(config)
    test = streams(config, data, torch.device("cpu"), torch.float64).test
    pixels = data.dataset.test.take(data.splits.test).pixels[:]
    torch.testing.assert_close(test.images(slice(None)), pixels.double() / 255, rtol=1e-12, atol=1e-12)
