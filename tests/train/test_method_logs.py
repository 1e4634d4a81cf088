"""What a method logs stands apart from what the benchmark measures, and is a finite scalar under a proper name."""

from __future__ import annotations

import json

import pytest
from logging_methods import METRICS

import noisybench
from noisybench.core.files import json_text
from noisybench.leaderboard.validate import read_record
from noisybench.spec.record import RunRecord
from noisybench.train import checkpoint_file
from noisybench.train.progress import Progress

SMALL = ("--dataset", "synthetic", "--epochs", "2")


def run(cli, name: str, folder) -> tuple[int, str]:
    code, _, err = cli("run", "--method", f"logging_methods:{name}", *SMALL, "--output", folder)
    return code, err


def test_no_log_takes_a_metrics_place(cli, tmp_path):
    assert run(cli, "LogsMetricsNames", tmp_path / "logs") == (0, "")
    assert cli("run", "--method", "ce", *SMALL, "--output", tmp_path / "plain")[0] == 0
    logged, plain = (RunRecord.load(tmp_path / name / "result.json") for name in ("logs", "plain"))
    own = {name: values for name, values in logged.curves.items() if name.startswith("method/")}
    assert {name: values for name, values in logged.curves.items() if name not in own} == plain.curves
    assert logged.metrics == plain.metrics and logged.heads == plain.heads
    assert "label_accuracy_estimated" not in logged.metrics  # it estimates no labels
    ones = [*METRICS, "label_accuracy_estimated", "train_accuracy_true"]
    expected = {f"method/{name}": [1.0, 1.0] for name in ones}
    assert own == expected | {"method/my_accuracy": [1.75, 1.75], "method/test_accuracy/second": [-2.0, -2.0]}
    # No board minds a log, whatever it is called and says.
    assert read_record((tmp_path / "logs" / "result.json").read_text(), "x") == logged
    rows = [json.loads(line) for line in (tmp_path / "logs" / "metrics.jsonl").read_text().splitlines()]
    assert [row["method/my_accuracy"] for row in rows] == [1.75, 1.75]
    assert [row["epoch"] for row in rows] == [0, 1] and rows[0]["learning_rate"] == plain.curves["learning_rate"][0]


def test_scalars_of_every_kind_are_taken(cli, tmp_path):
    assert run(cli, "LogsScalars", tmp_path / "run") == (0, "")
    curves = RunRecord.load(tmp_path / "run" / "result.json").curves
    # 150 rows an epoch in batches of 60, 60 and 30; each batch counts by its rows.
    assert curves["method/rows"] == [pytest.approx((60 * 60 + 60 * 60 + 30 * 30) / 150)] * 2
    assert curves["method/step"] == [pytest.approx((0 * 60 + 1 * 60 + 2 * 30) / 150), pytest.approx(3.8)]
    for name, value in {
        "half": 0.5,
        "yes": 1,
        "numpy": 0.25,
        "tensor": 2.5,
        "whole": 3,
        "of_numpy": 4,
        "true": 1,
    }.items():
        assert curves[f"method/{name}"] == [value, value]


GIVE = ": give a number or a tensor without dimensions"
REFUSED = {
    "StepVector": (0, f"training_step logs 'ratio' as a tensor of shape (3,){GIVE}"),
    "StepOneRow": (0, f"training_step logs 'ratio' as a tensor of shape (1,){GIVE}"),
    "StepText": (0, f"training_step logs 'ratio' as a str{GIVE}"),
    "StepNone": (0, f"training_step logs 'ratio' as None{GIVE}"),
    "StepComplex": (0, f"training_step logs 'ratio' as a complex tensor{GIVE}"),
    "StepNotANumber": (3, "what training_step logs as 'ratio' is not finite"),
    "StepList": (0, "training_step logs a list: give a dict of scalars by name"),
    "StepEscape": (0, r"training_step logs something under the name '\x1b[2Jratio', which holds '\x1b'"),
    "StepSpace": (0, "training_step logs something under the name 'kept ratio', which holds ' ' (SPACE)"),
    "StepLookAlike": (0, r"under the name 'l\u043ess', which holds '\u043e' (CYRILLIC SMALL LETTER O)"),
    "StepNumberAsName": (0, "training_step logs something under the name 3, which is no text"),
    "EpochVector": (3, f"epoch_logs logs 'ratio' as a tensor of shape (2, 2){GIVE}"),
    "EpochText": (3, f"epoch_logs logs 'ratio' as a str{GIVE}"),
    "EpochNone": (3, "epoch_logs logs a NoneType: give a dict of scalars by name"),
    "EpochTooLarge": (3, "what epoch_logs logs as 'ratio' is not finite"),
    "EpochInfinite": (3, "what epoch_logs logs as 'ratio' is not finite"),
    "EpochArray": (3, f"epoch_logs logs 'ratio' as a ndarray{GIVE}"),
    "InBothHooks": (3, "epoch_logs logs 'ratio', which training_step logs too: rename one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_scalar_ends_the_run_with_a_line(cli, tmp_path, name):
    """At the first step, or at the end of the first epoch where only then it is known."""
    step, reason = REFUSED[name]
    code, err = run(cli, name, tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and err.isprintable() is False and "\x1b" not in err
    assert f"method 'logging_methods:{name}' failed at step {step}: " in err and reason in err
    assert RunRecord.load(tmp_path / "run" / "result.json").status == "failed"


@pytest.mark.parametrize("name", ["StepVector", "StepText", "StepLookAlike", "EpochVector", "EpochText", "EpochNone"])
def test_the_kit_finds_it_too(cli, name):
    code, out, _ = cli("check", f"logging_methods:{name}")
    assert code == 1 and REFUSED[name][1] in out


def test_the_kit_passes_a_method_that_logs_a_tensor_of_its_state(cli):
    assert cli("check", "logging_methods:LogsScalars")[0] == 0


class StopAtStep(Progress):
    """Raises after so many steps of a run of three steps an epoch."""

    def __init__(self, steps: int):
        self.left = steps

    def step(self, done):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def without_namespace(value):
    if isinstance(value, dict):
        return {
            name.removeprefix("method/") if isinstance(name, str) else name: without_namespace(item)
            for name, item in value.items()
        }
    return [without_namespace(item) for item in value] if isinstance(value, list) else value


def test_a_checkpoint_from_before_logs_had_a_namespace_goes_on(tmp_path):
    """In mid-epoch: rows that are done, and means that are not, hold the method's logs under plain names."""
    given = {"method": "mslg", "dataset": "synthetic", "epochs": 3, "settings": {"warmup_epochs": 1}}
    given["checkpoint_steps"] = 1
    whole = noisybench.run(noisybench.RunConfig(**given, output=tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        noisybench.run(noisybench.RunConfig(**given, output=tmp_path / "parts"), progress=StopAtStep(9))
    folder = tmp_path / "parts" / "checkpoints"
    newest = checkpoint_file.checkpoints(folder)[-1]
    content = checkpoint_file.load_checkpoint(newest)
    old = content | {"past": without_namespace(content["past"]), "epoch": without_namespace(content["epoch"])}
    assert "label_gap" in old["past"]["curves"][1] and "meta_loss" in old["epoch"]["meter"]["totals"]
    newest.unlink()
    checkpoint_file.save_checkpoint(folder, content["past"]["step"], old)
    resumed = noisybench.run(noisybench.RunConfig(**given, output=tmp_path / "parts"), resume=True)
    assert resumed.curves == whole.curves and "method/meta_loss" in resumed.curves
    assert read_record(json_text(resumed.content()), "x") == resumed
