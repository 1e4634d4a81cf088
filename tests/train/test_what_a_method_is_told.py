"""What a method is told of the noise, what its optimizers are made of, and what the record says that it used."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet
import pytest
import torch
from torch import nn

import noisybench
from noisybench.core.errors import MethodError, UserError
from noisybench.methods import LabelEstimate, Method, StepOutput, UndeclaredError

PRIORS = ("noise_rate", "noise_kind", "transition_matrix")
SIZES = {"meta_size": 21, "noisy_val_size": 32, "clean_val_size": 43}  # all different: none can stand for another

told: dict[str, object] = {}


class Asks(Method):
    """Reads all it may and notes what it may not."""

    def build(self):
        told.clear()
        self.network = nn.Linear(1, 1)
        self.optimizer = self.context.make_optimizer(self.network)
        told["optimizer"] = (type(self.optimizer).__name__, self.optimizer.param_groups[0])
        for name in PRIORS:
            try:
                told[name] = getattr(self.context, name)
            except UndeclaredError:
                told[name] = UndeclaredError

    def training_step(self, batch):
        told["meta"] = batch.meta_images is not None
        return StepOutput(torch.zeros(()))

    def predict(self, images, head):
        return torch.ones(len(images), self.context.num_classes)

    def estimate_labels(self):
        soft = nn.functional.one_hot(self.context.given_labels, self.context.num_classes).float()
        return LabelEstimate(soft, torch.zeros(len(soft)))


class AsksForAll(Asks):
    needs = frozenset({"meta_set", *PRIORS})


class AsksForTheRate(Asks):
    needs = frozenset({"noise_rate"})


class AsksForMeta(Asks):
    needs = frozenset({"meta_set"})
    forward_equivalents = 7.5


def run(folder, method: str, **changes):
    given = {"method": f"test_what_a_method_is_told:{method}", "noise": "asymmetric", "noise_rate": 0.37, **SIZES}
    return noisybench.run(
        noisybench.RunConfig(**{**given, "limit_train": 500, "epochs": 1, "output": folder, **changes})
    )


def test_the_transition_matrix_is_from_true_to_given_within_the_train_set(tmp_path):
    """Asymmetric noise: a transposed matrix is another one. Rows are true classes; the rate is the requested one."""
    run(tmp_path / "run", "AsksForAll")
    noise = np.load(tmp_path / "run" / "noise.npz")
    rows = pyarrow.parquet.read_table(tmp_path / "run" / "labels.parquet")["index"].to_numpy()
    true, given = noise["clean"][rows], noise["noisy"][rows]
    expected = np.array([[np.mean(given[true == i] == j) for j in range(10)] for i in range(10)])
    assert not np.allclose(expected, expected.T)
    assert np.allclose(np.asarray(told["transition_matrix"]), expected)
    assert (told["noise_rate"], told["noise_kind"]) == (0.37, "asymmetric")
    assert 0.1 < np.mean(true != given) < 0.25  # of all images: the rate is per affected class


@pytest.mark.parametrize(
    ("method", "clean", "priors", "cost"),
    [
        ("Asks", 0, [], 3.0),
        ("AsksForTheRate", 0, ["noise_rate"], 3.0),
        ("AsksForMeta", SIZES["meta_size"], [], 7.5),
        ("AsksForAll", SIZES["meta_size"], sorted(PRIORS), 3.0),
    ],
)
def test_the_record_says_what_was_used(tmp_path, method, clean, priors, cost):
    record = run(tmp_path / "run", method)
    used = record.information_used
    assert (used.clean_labels, used.noise_prior) == (clean, priors)
    assert used.clean_labels_for_selection == SIZES["clean_val_size"]
    assert (used.pretrained_weights, used.extra_data, used.tuning_trials) == (False, False, 0)
    assert record.cost.forward_equivalents_per_step == cost
    assert told["meta"] == (clean > 0)
    assert [name for name in sorted(PRIORS) if told[name] is not UndeclaredError] == priors


class TakesFromPriors(Asks):
    def build(self):
        super().build()
        name, way = WAYS[taken]
        told["taken"] = way(self.context, name)


class DeniesItsNeeds(Asks):
    """Takes what it declares, and says afterwards that it declares nothing."""

    needs = frozenset({"meta_set", "noise_rate"})

    def build(self):
        super().build()
        type(self).needs = self.context.needs = frozenset()


WAYS = {
    "item": ("transition_matrix", lambda context, name: context.priors[name]),
    "get": ("noise_rate", lambda context, name: context.priors.get(name)),
    "traits": ("noise_traits", lambda context, name: context.priors[name]),
    "property": ("noise_kind", lambda context, name: getattr(context, name)),
    "declared late": (
        "noise_rate",
        lambda context, name: setattr(context, "needs", frozenset({name})) or context.noise_rate,
    ),
    "train": ("train", lambda context, name: context.train.pixels),
}
taken = ""


@pytest.mark.parametrize("way", WAYS)
def test_what_is_not_declared_cannot_be_read(tmp_path, monkeypatch, way):
    """One line says what to declare; nothing of it is in the context, whatever one reads it by."""
    monkeypatch.setitem(globals(), "taken", way)
    with pytest.raises(MethodError) as caught:
        run(tmp_path / "run", "TakesFromPriors")
    name = WAYS[way][0]
    needed = {"noise_traits": "noise_kind"}.get(name, name)
    said = f"{name} is read but not declared: add '{needed}' to the method's needs"
    if name == "train":
        said = "context.train is the benchmark's own: use context.full_pass(function) for the train set's images"
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert "taken" not in told


class LooksAtItsFolder(Asks):
    folder = None
    seen: list = []

    def estimate_labels(self):
        self.seen.append(sorted(file.name for file in type(self).folder.iterdir() if not file.name.startswith(".")))
        return super().estimate_labels()


def test_the_true_labels_are_not_in_the_folder_before_the_run_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(LooksAtItsFolder, "folder", tmp_path / "run")
    monkeypatch.setattr(LooksAtItsFolder, "seen", [])
    run(tmp_path / "run", "LooksAtItsFolder", epochs=2)
    assert len(LooksAtItsFolder.seen) == 3  # after each epoch and at the end
    assert set().union(*LooksAtItsFolder.seen) == {"config.json", "metrics.jsonl", "checkpoints"}
    assert (tmp_path / "run" / "noise.npz").is_file()


def test_a_context_holds_what_is_declared_and_no_more(tmp_path, monkeypatch):
    held = {}
    build = Asks.build
    monkeypatch.setattr(Asks, "build", lambda self: build(self) or held.update(self.context.priors))
    run(tmp_path / "none", "Asks")
    assert held == {}
    run(tmp_path / "rate", "AsksForTheRate")
    assert held == {"noise_rate": 0.37}


def test_the_record_says_what_was_declared_when_the_method_was_built(tmp_path, monkeypatch):
    monkeypatch.setattr(DeniesItsNeeds, "needs", DeniesItsNeeds.needs)  # put back afterwards
    used = run(tmp_path / "run", "DeniesItsNeeds").information_used
    assert (used.clean_labels, used.noise_prior) == (SIZES["meta_size"], ["noise_rate"])


class NeedsTheTruth(Asks):
    needs = frozenset({"true_labels"})


class NeedsAText(Asks):
    needs = "meta_set"


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("NeedsTheTruth", "needs names 'true_labels'; known: meta_set, noise_kind, noise_rate, transition_matrix"),
        ("NeedsAText", "needs is 'meta_set': give a frozenset of names"),
    ],
)
def test_what_there_is_not_cannot_be_declared(tmp_path, method, said):
    with pytest.raises(UserError) as caught:
        run(tmp_path / "run", method)
    assert str(caught.value).endswith(said)
    assert not (tmp_path / "run").exists()


def test_the_records_cost_is_of_the_noisy_train_set(tmp_path):
    cost = run(tmp_path / "run", "AsksForMeta", epochs=3).cost
    images = 3 * (500 - sum(SIZES.values()))
    assert cost.samples_per_second * cost.train_seconds == pytest.approx(images)
    assert 0 < cost.train_seconds < cost.wall_seconds
    assert (cost.processes, cost.device) == (1, "cpu")


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        (
            {"name": "sgd", "lr": 0.3, "momentum": 0.7, "weight_decay": 0.02, "nesterov": True},
            "SGD",
            {"lr": 0.3, "momentum": 0.7, "weight_decay": 0.02, "nesterov": True, "dampening": 0},
        ),
        ({"name": "sgd", "momentum": 0.4, "weight_decay": 0.03}, "SGD", {"momentum": 0.4, "nesterov": False}),
        ({"name": "adam", "lr": 0.1, "momentum": 0.6, "weight_decay": 0.04}, "Adam", {"betas": (0.6, 0.999)}),
        ({"name": "adamw", "lr": 0.1, "momentum": 0.6, "weight_decay": 0.04}, "AdamW", {"weight_decay": 0.04}),
    ],
)
def test_optimizers_are_made_as_configured(tmp_path, given, kind, expected):
    run(tmp_path / "run", "Asks", optimizer=given, schedule={"name": "constant"})
    found, group = told["optimizer"]
    assert found == kind
    assert group["weight_decay"] == given["weight_decay"]
    assert {name: group[name] for name in expected} == expected
