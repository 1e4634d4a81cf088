"""Every method keeps the contract; methods that break it fail the check that is meant for them."""

from __future__ import annotations

import importlib.metadata
import random

import numpy as np
import pytest
import torch

from noisybench.conformance import check_method, kit
from noisybench.conformance.checks import CHECKS
from noisybench.conformance.setups import REFERENCE
from noisybench.conformance.trial import Trial
from noisybench.core.errors import UserError
from noisybench.spec import method_settings, registry
from noisybench.spec.method_settings import SETTINGS_GROUP


@pytest.mark.parametrize("name", registry.method_names())
def test_every_registered_method_passes(name):
    assert check_method(name).lines()[0].startswith(f"{name}: passes all {len(CHECKS)} checks")


BROKEN = {  # class: (check, part of what is said, step)
    "UnknownNeed": ("declarations", "'true_labels'", None),
    "NoDefault": ("declarations", "'strength' has no default", None),
    "NeverLeavesWarmUp": ("phases", "warmup_epochs = 10", None),
    "DefinesNothing": ("trains", "DefinesNothing defines neither loss nor training_step", 0),
    "RaisesAtStep3": ("trains", "RuntimeError: out of ideas", 3),
    "RaisesInPredict": ("trains", "RuntimeError: no prediction today", 3),
    "ReadsNoiseRate": ("declared information", "noise_rate is read but not declared", 0),
    "ReadsNoiseRateInBuild": ("declared information", "noise_rate is read but not declared", 0),
    "ReadsPriors": ("declared information", "add 'transition_matrix' to the method's needs", 0),
    "ReadsItsRank": ("declared information", "context.world.rank is read", 0),
    "NotANumber": ("finite losses", "loss is nan", 4),
    "LogsNotANumber": ("finite losses", "logs as 'ratio' is not finite: nan", 3),
    "DrawsFromPython": ("global generators", "Python's global generator", 0),
    "DrawsFromNumPy": ("global generators", "NumPy's global generator", 0),
    "DrawsFromTorchInBuild": ("global generators", "torch's global generator", None),
    "DrawsFromTorchInStartEpoch": ("deterministic", "", None),
    "ReadsTheClock": ("deterministic", "network.", None),
    "LearnsFromPredicting": ("evaluation", "predict", None),
    "CorrectsLabelsInPlace": ("inputs", "changed the given labels", 9),
    "HoldsItsConfig": ("sealed", "method.callback.config (a RunConfig", 9),
    "ReadsTheNumberOfProcesses": ("declared information", "context.world.size is read: a method must not know how", 0),
    "AsksHowItIsRun": ("declared information", "context.world._accelerator is read", None),
    "ForeignState": ("state", "when (module)", 4),
    "HistoryInLists": ("state", "'history.losses.0'", None),
    "CountInClosure": ("state", "some state is not saved: weight.count;", None),
    "StateOfNumPy": ("state", "some state is not saved: seen;", None),
    "StateInAnObject": ("state", "some state is not saved: memory.seen;", None),
    "StateInADeque": ("state", "some state is not saved: recent;", None),
    "StateInAGenerator": ("state", "some state is not saved: drawn;", None),
    "StateInASchedule": ("state", "some state is not saved: schedule.last_epoch", None),
    "StateOnTheContext": ("state", "some state is not saved: context.seen;", None),
    "SumsItsLoss": ("means", "with every row of a batch twice, the loss given to context.step is 2 times as large", 0),
    "SumsAPenalty": ("means", "give the mean over the batch's rows, not their sum", 4),
    "StepsOnASum": ("means", "the loss given to context.step is 2 times as large", 0),
    "StepsOnASumByItself": ("means", "a gradient is 2 times as large", 0),
    "KeepsTenRowsMore": ("per-sample state", "weights has 160 rows for 150 training samples", None),
    "EmbedsOneRowMore": ("per-sample state", "rows.weight has 151 rows for 150 training samples", None),
    "GrowsItsColumn": ("per-sample state", "store.weights has 155 rows at the end, the train set 150", None),
    "AddsRowsToTheStore": ("trains", "column 'weights' has 155 rows, the train set 150", 0),
    "SpreadsOneRowOverTheStore": ("trains", "column 'weights' has shape (150,), its new values (1,)", 0),
    "Logits": ("predictions", "head 'network'", 9),
    "HalfProbabilities": ("predictions", "head 'half' gives rows that do not sum to 1 (off by up to 0.5)", 9),
    "OneEstimateTooFew": ("label estimates", "(149, 10), not a tensor of shape (150, 10)", 3),
    "EstimateOffTheSimplex": ("label estimates", "do not sum to 1 (off by up to 1)", 3),
    "CastsToFloat32": ("precision", "torch.float32 in a run of float64", 9),
    "NeedsBatchNorm": ("trains", "[2 classes, no BatchNorm, float64]", None),
    "LearnsNothing": ("learns", "test accuracy 0.", None),
    "LearnsTheWrongClass": ("learns", "test accuracy 0.0", None),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_method_fails_its_check(name):
    check, said, step = BROKEN[name]
    problems = check_method(f"broken_methods:{name}").problems
    found = [problem for problem in problems if problem.check == check and said in problem.what]
    assert found, [str(problem) for problem in problems]
    if step is not None:
        assert found[0].step == step


def test_settings_that_are_not_the_methods_fail_the_declarations(monkeypatch):
    other = importlib.metadata.EntryPoint("ce", "noisybench.methods.settings.gce:GCESettings", SETTINGS_GROUP)
    monkeypatch.setattr(method_settings, "settings_entry_points", lambda: {("ce", "noisybench"): other})
    problems = [problem.what for problem in check_method("ce").problems if problem.check == "declarations"]
    assert problems == ["the entry point in noisybench.settings names another class than Settings does"]


@pytest.mark.parametrize(("name", "given"), [("ce", False), ("mslg", True)])
def test_batches_have_meta_images_only_where_declared(monkeypatch, name, given):
    seen = []
    method = registry.load_method(name)
    step = method.training_step
    monkeypatch.setattr(method, "training_step", lambda self, batch: seen.append(batch) or step(self, batch))
    list(Trial(name, REFERENCE, {}).steps(0))
    assert [len(batch.index) for batch in seen] == [60, 60, 30]
    assert all((batch.meta_images is not None) == (batch.meta_labels is not None) == given for batch in seen)


def test_the_kit_leaves_the_global_generators_alone():
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    expected = random.random(), np.random.random(), torch.rand(1)
    random.seed(3)
    np.random.seed(3)
    torch.manual_seed(3)
    check_method("broken_methods:RaisesAtStep3")
    assert (random.random(), np.random.random(), torch.rand(1)) == expected


def test_a_failure_is_one_line_and_exit_code_1(cli):
    code, out, err = cli("check", "broken_methods:RaisesAtStep3")
    assert (code, err) == (1, "")
    line = "broken_methods:RaisesAtStep3: trains: RuntimeError: out of ideas [10 classes, BatchNorm] (step 3)\n"
    assert out == line


def test_a_setting_for_the_check_can_be_given(cli):
    code, out, _ = cli("check", "broken_methods:NeverLeavesWarmUp", "--set", "method.warmup_epochs=1")
    assert code == 0 and out.startswith("broken_methods:NeverLeavesWarmUp: passes all")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("msgl",), "unknown method 'msgl': did you mean mslg?"),
        (("no_such_module:Method",), "cannot be imported from no_such_module:Method: ModuleNotFoundError"),
        (("noisybench.core.errors:UserError",), "is not a subclass of noisybench.methods.Method"),
        (("ce", "--set", "method.strength=1"), "unknown configuration key 'method.strength'"),
        ((), "give one method"),
        (("ce", "--all"), "give one method"),
    ],
)
def test_a_bad_name_is_exit_code_2(cli, arguments, said):
    code, out, err = cli("check", *arguments)
    assert code == 2 and out == ""
    assert said in err and err.count("\n") == 1


def test_all_goes_on_after_a_failure_and_ends_with_a_table(cli, monkeypatch):
    def check(name, overrides):
        if name == "broken":
            raise UserError("method 'broken' cannot be imported")
        return kit.CheckReport(name, [], 1.5)

    monkeypatch.setattr(registry, "method_names", lambda: ["broken", "sound"])
    monkeypatch.setattr(kit, "check_method", check)
    code, out, _ = cli("check", "--all")
    assert code == 1
    assert "broken: loads: method 'broken' cannot be imported" in out
    assert "1 of 2 methods pass" in out
    rows = [line.split("│")[1:-1] for line in out.splitlines() if line.startswith("│")]
    assert [cell.strip() for cell in rows[0][:2]] == ["broken", "loads"]
    assert [cell.strip() for cell in rows[1]] == ["sound", "none", "1.5"]
