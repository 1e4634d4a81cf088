"""A method that fails is reported with its name and the step, by the command line and by the run record."""

from __future__ import annotations

import json

import pytest

from noisybench import RunConfig, resolve
from noisybench.core.errors import UserError
from noisybench.spec import registry
from noisybench.spec.record import RunRecord
from noisybench.train.job import default_output

SMALL = ("--dataset", "synthetic", "--epochs", "2")

FAILURES = {
    "RaisesAtStep3": "failed at step 3: RuntimeError: out of ideas",
    "NotANumber": "failed at step 4: its loss is not finite",
    "ReadsNoiseRate": "failed at step 0: UndeclaredError: noise_rate is read but not declared: "
    "add 'noise_rate' to the method's needs",
    "ReadsNoiseRateInBuild": "failed at step 0: building it: UndeclaredError: noise_rate is read but not declared: "
    "add 'noise_rate' to the method's needs",
    "RaisesInPredict": "failed at step 3: RuntimeError: no prediction today",
    "LogsNotANumber": "failed at step 3: what epoch_logs logs as 'ratio' is not finite: nan",
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_told_and_recorded(cli, tmp_path, name):
    method, folder = f"broken_methods:{name}", tmp_path / "run"
    code, _, err = cli("run", "--method", method, *SMALL, "--output", folder)
    message = f"method {method!r} {FAILURES[name]}"
    assert (code, err) == (2, f"noisybench: {message}\n")
    record = RunRecord.load(folder / "result.json")
    assert (record.status, record.error) == ("failed", message)
    assert record.config["method"] == method
    assert json.loads((folder / "config.json").read_text())["run_id"] == record.run_id
    built = name != "ReadsNoiseRateInBuild"
    assert (record.fingerprints.weights is not None) == built


def test_a_failed_run_starts_over_on_resume(cli, tmp_path):
    arguments = ("run", "--method", "broken_methods:RaisesAtStep3", *SMALL, "--output", tmp_path / "run")
    _, _, first = cli(*arguments)
    code, _, again = cli(*arguments, "--resume")
    assert code == 2 and again == first


def test_what_the_user_got_wrong_is_not_blamed_on_the_method(cli, tmp_path):
    folder = tmp_path / "run"
    code, _, err = cli("run", "--method", "broken_methods:NeedsBatchNorm", *SMALL, "--model", "nn", "--output", folder)
    assert code == 2 and "unknown model 'nn'" in err and "failed at step" not in err
    assert not folder.exists()


def test_a_class_by_its_path_runs_like_its_name(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    records = []
    for method in ("mslg", "noisybench.methods.mslg:MSLG"):
        code, out, err = cli("run", "--method", method, *SMALL)
        assert code == 0, err
        records.append(RunRecord.load(next((tmp_path / "runs").glob(f"{method.replace(':', '.')}-*/result.json"))))
    by_name, by_path = records
    assert by_path.config["method"] == "noisybench.methods.mslg:MSLG"
    assert by_path.config["settings"] == by_name.config["settings"]  # the recipes of mslg's card
    assert by_path.fingerprints == by_name.fingerprints
    assert by_path.information_used == by_name.information_used


def test_the_default_folder_has_no_colon():
    config = resolve(RunConfig(method="broken_methods:LearnsNothing", noise_rate=0.2))
    assert default_output(config).name.startswith("broken_methods.LearnsNothing-digits-symmetric-0.2-seed0-")


def test_a_class_in_the_working_directory_is_found(cli, tmp_path, monkeypatch):
    (tmp_path / "my_local_method.py").write_text("from noisybench.methods.ce import CrossEntropy as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path.copy())
    code, out, _ = cli("run", "--method", "my_local_method:Mine", "--dry-run")
    assert code == 0 and json.loads(out)["method"] == "my_local_method:Mine"


def test_a_module_that_does_not_import_is_one_line(cli, tmp_path, monkeypatch):
    (tmp_path / "my_typo.py").write_text("class Mine(:\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", __import__("sys").path.copy())
    code, _, err = cli("run", "--method", "my_typo:Mine")
    assert code == 2 and err.count("\n") == 1
    assert "method 'my_typo:Mine' cannot be imported from my_typo:Mine: SyntaxError" in err


def test_the_defaults_of_a_method_are_in_the_configuration():
    assert resolve(RunConfig(method="broken_methods:NeverLeavesWarmUp")).settings == {"warmup_epochs": 10}


def test_state_without_a_place_is_refused(tmp_path):
    from noisybench.conformance.setups import REFERENCE
    from noisybench.conformance.trial import Trial

    plain, growing = (
        Trial("ce", REFERENCE, {}).method,
        Trial("broken_methods:DrawsFromTorchInStartEpoch", REFERENCE, {}),
    )
    with pytest.raises(ValueError, match="differ in 'weight'"):
        plain.load_state_dict(growing.method.state_dict())
    longer = {**growing.method.state_dict(), "weight": growing.method.weight.expand(2)}
    with pytest.raises(ValueError, match=r"'weight' has shape and type \(2,\) torch.float32, not \(\)"):
        growing.method.load_state_dict(longer)


def test_numbers_in_containers_are_restored():
    from noisybench.conformance.setups import REFERENCE
    from noisybench.conformance.trial import Trial

    method = Trial("ce", REFERENCE, {}).method
    method.count, method.rates = 3, {"forget": [0.1, 0.2]}
    state = method.state_dict()
    method.count, method.rates["forget"][1] = 0, 0.0
    method.load_state_dict(state)
    assert (method.count, method.rates) == (3, {"forget": [0.1, 0.2]})


def test_only_a_user_error_of_the_registry_is_raised_for_a_wrong_path():
    with pytest.raises(UserError, match="AttributeError"):
        registry.load_method("noisybench.methods.ce:NoSuchClass")
