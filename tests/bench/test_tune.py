"""``noisybench tune``: who is chosen, that a study goes on as if it had not stopped, and what never reaches a trial."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

import noisybench
from noisybench.bench.tuning import first_values
from noisybench.cli.main import app
from noisybench.core.errors import UserError
from noisybench.methods.ce import CrossEntropy
from noisybench.spec import registry
from noisybench.spec.tuning import spaces
from noisybench.train.extract import Extraction

pytest.importorskip("optuna")
pytest.importorskip("tomlkit")

HERE = "test_tune"
SMALL = {"limit_train": 200, "epochs": 2, "batch_size": 50, "model": "noisybench_mlp"}
AS_OPTIONS = [option for name, value in SMALL.items() for option in ("--set", f"{name}={json.dumps(value)}")]


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    """``HERE:Class`` names a method of this file."""
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


def tune(*options: str) -> None:
    app([str(option) for option in ("tune", *options)], standalone_mode=False)


def digits(output: Path, trials: int, *options: str, method: str = "sce", seeds: str = "100,101") -> dict:
    """What a study of digits wrote."""
    tune(
        "--method", method, "--dataset", "digits", "--trials", trials, "--seeds", seeds, "--output", output,
        *AS_OPTIONS, *options,
    )  # fmt: skip
    return json.loads((output / "tuning.json").read_text())


def without_times(study: dict) -> dict:
    return {**study, "trials": [{**trial, "seconds": 0} for trial in study["trials"]]}


def validation(output: Path, curve: str = "noisy_val_accuracy", **changes) -> float:
    """What a run of its own measures on validation in its last epoch."""
    given = {"method": "sce", "dataset": "digits", **SMALL, "output": output, **changes}
    return noisybench.run(noisybench.RunConfig(**given)).curves[curve][-1]


def test_the_first_trial_is_the_recipe_and_scores_are_what_runs_measure(tmp_path):
    study = digits(tmp_path / "study", 3)
    first, *_, last = study["trials"]
    card = tomllib.loads((registry.builtin_cards() / "methods" / "sce.toml").read_text())["recipes"]["digits"]
    assert first["values"] == {
        "optimizer.lr": 0.05,  # the dataset card's
        "settings.alpha": card["settings"]["alpha"],
        "settings.beta": card["settings"]["beta"],
    }
    for seed, score in zip((100, 101), first["scores"], strict=True):
        assert validation(tmp_path / f"recipe{seed}", seed=seed) == score
    chosen = {
        "optimizer": {"lr": last["values"]["optimizer.lr"]},
        "settings": {name: last["values"][f"settings.{name}"] for name in ("alpha", "beta")},
    }
    assert validation(tmp_path / "last", seed=101, **chosen) == last["scores"][1]


def test_clean_validation_judges_where_it_is_asked_to(tmp_path):
    study = digits(tmp_path / "study", 1, "--judge", "clean-val", seeds="100")
    assert study["trials"][0]["scores"] == [validation(tmp_path / "run", "clean_val_accuracy", seed=100)]
    assert study["judge"] == "clean-val"


def test_the_best_mean_is_chosen(tmp_path, capsys):
    study = digits(tmp_path, 6)
    assert study["budget"] == len(study["trials"]) == 6
    means = [sum(trial["scores"]) / 2 for trial in study["trials"]]
    assert [trial["score"] for trial in study["trials"]] == means
    assert len(set(means)) > 1
    best = means.index(max(means))
    assert study["chosen"] == {"number": best, "score": means[best], "values": study["trials"][best]["values"]}
    told = capsys.readouterr().out
    recipe = tomllib.loads(told[told.index("[recipes.") :])
    values = study["chosen"]["values"]
    assert recipe["recipes"]["digits"]["optimizer"] == {"lr": values["optimizer.lr"]}
    assert recipe["recipes"]["digits"]["settings"]["alpha"] == values["settings.alpha"]
    assert recipe["tuned"]["digits"] == {
        "trials": 6, "seeds": [100, 101], "judge": "noisy-val", "noise": "symmetric", "noise_rate": 0.4,
    }  # fmt: skip


def test_values_lie_in_their_ranges_and_on_a_card_of_four_digits(tmp_path):
    study = digits(tmp_path, 12, "--set", "epochs=1", seeds="100")
    for trial in study["trials"]:
        values = trial["values"]
        assert 0.002 <= values["optimizer.lr"] <= 0.2 and 0.01 <= values["settings.alpha"] <= 5
        assert all(float(f"{value:.4g}") == value for value in values.values())
    assert len({trial["values"]["optimizer.lr"] for trial in study["trials"]}) == 12


@pytest.mark.parametrize("method", ["ce", "sce", "mslg"])
def test_a_small_budget_sees_the_whole_of_every_range(method):
    """Each of the seven trials after the recipe's lies in another eighth of each range."""
    base = noisybench.resolve(noisybench.RunConfig(method=method, dataset="cifar10", frozen=True))
    ranges = spaces(registry.method_card(method).tune, base)
    tried = [first_values(number, ranges) for number in range(8)]
    assert tried[0] == {key: space.recipe for key, space in ranges.items()}
    for key, space in ranges.items():
        if space.log:
            eighths = [
                math.floor(8 * math.log(values[key] / space.low, space.high / space.low)) for values in tried[1:]
            ]
            assert len(set(eighths)) == 7, (key, eighths)


def test_a_study_goes_on_as_if_it_had_not_stopped(tmp_path):
    options = ("--set", "epochs=1")
    whole = digits(tmp_path / "whole", 11, *options, seeds="100")  # beyond the sampler's random start
    digits(tmp_path / "parts", 4, *options, seeds="100")
    digits(tmp_path / "parts", 9, *options, seeds="100")
    assert without_times(digits(tmp_path / "parts", 11, *options, seeds="100")) == without_times(whole)
    first = digits(tmp_path / "whole", 2, *options, seeds="100")
    assert [trial["number"] for trial in first["trials"]] == [0, 1]


class Interrupted(CrossEntropy):
    """Ends as by Ctrl-C in its second training."""

    armed = False
    built = 0

    def build(self):
        super().build()
        Interrupted.built += 1

    def loss(self, logits, batch):
        if Interrupted.armed and Interrupted.built == 2 and batch.step == 2:
            raise KeyboardInterrupt
        return super().loss(logits, batch)


def test_a_trial_that_was_cut_off_is_trained_again_under_its_number(tmp_path, monkeypatch):
    whole = digits(tmp_path / "whole", 3, method=f"{HERE}:Interrupted", seeds="100")
    monkeypatch.setattr(Interrupted, "armed", True)
    monkeypatch.setattr(Interrupted, "built", 0)
    with pytest.raises(FileNotFoundError, match="tuning.json"):  # which is written at the end
        digits(tmp_path / "cut", 3, method=f"{HERE}:Interrupted", seeds="100")
    assert Interrupted.built == 2
    monkeypatch.setattr(Interrupted, "armed", False)
    again = digits(tmp_path / "cut", 3, method=f"{HERE}:Interrupted", seeds="100")
    assert without_times(again) == without_times(whole)


class FailsWhenFast(CrossEntropy):
    """Its loss is no number above a learning rate of 0.05."""

    def loss(self, logits, batch):
        loss = super().loss(logits, batch)
        return loss * torch.nan if self.context.optimizer_config.lr > 0.05 else loss


def test_a_trial_that_fails_is_one_of_the_budget_and_says_why(tmp_path):
    study = digits(tmp_path, 8, method=f"{HERE}:FailsWhenFast", seeds="100")
    failed = [trial for trial in study["trials"] if trial["values"]["optimizer.lr"] > 0.05]
    assert len(study["trials"]) == 8 and 1 <= len(failed) <= 3  # 0.05 to 0.2 are the upper 30 % of the range
    for trial in study["trials"]:
        if trial in failed:
            assert trial["score"] is None and "its loss is not finite" in trial["reason"]
        else:
            assert trial["score"] is not None and trial["reason"] is None
    assert study["chosen"]["values"]["optimizer.lr"] <= 0.05


class ReadsTest(CrossEntropy):
    """Looks for the test set in what called it, and learns its labels."""

    found: list = []

    def loss(self, logits, batch):
        frame = sys._getframe()
        while frame is not None:
            session = frame.f_locals.get("self")
            if type(session).__name__ == "Session":
                ReadsTest.found.append(int(session.streams.test.labels[0]))
                break
            frame = frame.f_back
        return super().loss(logits, batch)


def test_a_trial_cannot_read_the_test_set(tmp_path, monkeypatch):
    monkeypatch.setattr(ReadsTest, "found", [])
    noisybench.run(noisybench.RunConfig(method=f"{HERE}:ReadsTest", output=tmp_path / "run", **SMALL))
    assert ReadsTest.found  # where there is a test set, it finds it
    ReadsTest.found.clear()
    with pytest.raises(UserError, match="all 2 trials failed.*'NoneType' object has no attribute 'labels'"):
        digits(tmp_path / "study", 2, method=f"{HERE}:ReadsTest")
    assert not ReadsTest.found
    reasons = [trial["reason"] for trial in json.loads((tmp_path / "study" / "tuning.json").read_text())["trials"]]
    assert len(reasons) == 2 and all("failed at step 0" in reason for reason in reasons)


class LooksAtData(CrossEntropy):
    """Keeps the session's data for the test to look at."""

    seen: list = []

    def loss(self, logits, batch):
        frame = sys._getframe()
        while frame is not None and type(frame.f_locals.get("self")).__name__ != "Session":
            frame = frame.f_back
        LooksAtData.seen.append(frame.f_locals["self"].data)
        return super().loss(logits, batch)


def test_no_test_image_nor_feature_is_in_a_trial(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISYBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(LooksAtData, "seen", [])
    computed = []
    compute = Extraction.compute
    monkeypatch.setattr(
        Extraction, "compute", lambda self, view, told: computed.append(view) or compute(self, view, told)
    )
    tune(
        "--method", f"{HERE}:LooksAtData", "--dataset", "synthetic", "--frozen", "--trials", "2", "--seeds", "100,101",
        "--output", tmp_path / "study", "--set", "epochs=2", "--set", "model=noisybench_cnn4",
        "--set", "pretrained=false",
    )  # fmt: skip
    assert LooksAtData.seen
    for data in LooksAtData.seen:
        assert len(data.dataset.test) == len(data.splits.test) == 0
        assert data.features is not None and set(data.features.parts) == {"train"}
    assert [view.part for view in computed] == ["train"]  # once for all trials and seeds


def test_frozen_trials_measure_what_frozen_runs_do(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISYBENCH_CACHE", str(tmp_path / "cache"))
    settings = {"epochs": 2, "model": "noisybench_cnn4", "pretrained": False}
    options = [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    tune(
        "--method", "elr", "--dataset", "synthetic", "--frozen", "--trials", "2", "--seeds", "100,101",
        "--output", tmp_path / "study", *options,
    )  # fmt: skip
    trial = json.loads((tmp_path / "study" / "tuning.json").read_text())["trials"][1]
    values = trial["values"]
    config = noisybench.RunConfig(
        method="elr", dataset="synthetic", frozen=True, seed=101, output=tmp_path / "run", **settings,
        optimizer={"lr": values["optimizer.lr"]},
        settings={name: values[f"settings.{name}"] for name in ("beta", "regularizer_weight")},
    )  # fmt: skip
    assert noisybench.run(config).curves["noisy_val_accuracy"][-1] == trial["scores"][1]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--seeds", "99,100"], ["--seeds 99,100", "99", "100 or more"]),
        (["--seeds", "a"], ["--seeds 'a'", "100,101,102"]),
        (["--seeds", "100,100"], ["named twice"]),
        (["--judge", "noisy_val"], ["judge 'noisy_val'", "noisy-val"]),
        (["--judge", "test"], ["judge 'test'", "clean-val, noisy-val"]),
        (["--set", "seed=3"], ["--seeds"]),
        (["--set", "protocol=authors"], ["protocol 'authors'", "test set"]),
    ],
)
def test_what_is_refused(tmp_path, options, words):
    with pytest.raises(UserError) as refused:
        tune("--method", "ce", "--dataset", "digits", "--trials", "2", "--output", tmp_path / "study", *options)
    assert all(word in str(refused.value) for word in words), refused.value
    assert "\n" not in str(refused.value) and not (tmp_path / "study").exists()


def test_another_study_in_the_folder_is_refused(tmp_path):
    before = digits(tmp_path, 1, seeds="100")
    with pytest.raises(UserError, match=r"another study \(judge is 'noisy-val' there and 'clean-val' here\)"):
        digits(tmp_path, 1, "--judge", "clean-val", seeds="100")
    with pytest.raises(UserError, match=r"config.method is 'sce' there and 'ce' here"):
        digits(tmp_path, 1, method="ce", seeds="100")
    assert json.loads((tmp_path / "tuning.json").read_text()) == before


def test_a_recipe_that_cannot_be_run_is_no_trial(tmp_path):
    with pytest.raises(UserError, match="noisy validation accuracy judges, and the run has no such images"):
        digits(tmp_path, 2, "--set", "noisy_val_size=0")
    assert not (tmp_path / "tuning.json").exists()


def test_without_optuna_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'noisybench\[tune\]'"):
        digits(tmp_path, 1)


def test_a_dry_run_says_what_would_be_tried(tmp_path, capsys):
    tune(
        "--method",
        "mslg",
        "--dataset",
        "cifar10",
        "--frozen",
        "--trials",
        "20",
        "--dry-run",
        "--output",
        tmp_path / "no",
    )
    told = capsys.readouterr().out
    assert "20 trials of 3 runs of 20 epochs" in told
    assert "optimizer.lr: 0.002 to 0.2, logarithmic; the recipe's 0.01247" in told
    assert "settings.kappa: 0.3 to 30, logarithmic; the recipe's 0.5369" in told
    assert "settings.warmup_epochs: 1 to 12, whole, in steps of 1" in told  # 0.05 to 0.6 of 20 epochs
    assert not (tmp_path / "no").exists()


@pytest.fixture
def own_cards(tmp_path, monkeypatch):
    """A copy of the registry, in its place."""
    copy = tmp_path / "registry"
    shutil.copytree(registry.builtin_cards(), copy)
    monkeypatch.setattr(registry, "builtin_cards", lambda: copy)
    registry.forget()
    yield copy
    monkeypatch.undo()
    registry.forget()


@pytest.mark.parametrize("method", ["sce", "ce"])
def test_a_card_gets_the_recipe_and_nothing_else(own_cards, tmp_path, method):
    file = own_cards / "methods" / f"{method}.toml"
    before = file.read_text()
    study = digits(tmp_path / "study", 3, "--write-card", "--set", "meta_size=20", method=method, seeds="100")
    after = tomllib.loads(file.read_text())
    former = tomllib.loads(before)
    for table in ("recipes", "recipe_sources", "tuned"):
        assert "digits" in after[table]
        for content in (former, after):
            content.get(table, {}).pop("digits", None)
            if not content.get(table):
                content.pop(table, None)
    assert after == former  # nothing else says anything else
    gone = {"[recipes.digits]", "settings = { alpha = 0.01, beta = 1.0 }"}
    lines = [line for line in before.splitlines() if line not in gone and not line.startswith("digits =")]
    kept = iter(file.read_text().splitlines())
    assert all(line in kept for line in lines)  # and its lines stand as they stood, in their order
    card = registry.method_card(method)
    assert card.tuned["digits"].trials == 3 and card.tuned["digits"].seeds == [100]
    config = noisybench.resolve(noisybench.RunConfig(method=method, dataset="digits"))
    assert config.optimizer.lr == study["chosen"]["values"]["optimizer.lr"]
    assert config.epochs == SMALL["epochs"]  # set for the study, so part of the recipe
    assert config.meta_size == 100  # the size of a set is not


def test_a_run_of_a_tuned_recipe_says_so(own_cards, tmp_path):
    digits(tmp_path / "study", 3, "--write-card", seeds="100")
    record = noisybench.run(noisybench.RunConfig(method="sce", output=tmp_path / "tuned", limit_train=200))
    assert record.information_used.tuning_trials == 3
    other = noisybench.RunConfig(method="ce", output=tmp_path / "untuned", **SMALL)
    assert noisybench.run(other).information_used.tuning_trials == 0


def test_what_is_tuned_again_counts_all_its_trials(own_cards, tmp_path):
    digits(tmp_path / "first", 3, "--write-card", seeds="100")
    digits(tmp_path / "second", 2, "--write-card", seeds="100")
    assert registry.method_card("sce").tuned["digits"].trials == 5


@pytest.mark.slow
def test_two_processes_share_a_study(tmp_path):
    command = [sys.executable, "-m", "noisybench", "tune", "--method", "ce", "--dataset", "digits", "--trials", "6"]
    command += ["--seeds", "100", "--output", str(tmp_path / "study"), *AS_OPTIONS]
    root = str(Path(noisybench.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    both = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    trained = sorted(line.split(":")[0] for text in told for line in text.splitlines() if line.startswith("trial "))
    assert trained == [f"trial {number}" for number in range(6)]  # each once, by one of the two
    study = json.loads((tmp_path / "study" / "tuning.json").read_text())
    assert [trial["number"] for trial in study["trials"]] == list(range(6))
