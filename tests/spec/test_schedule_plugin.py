"""A learning-rate schedule of another package, from its entry point to the record's curve."""

from __future__ import annotations

import pytest

from noisybench.spec import registry
from noisybench.spec.layers import resolve_dict
from noisybench.spec.record import RunRecord

GROUP = "noisybench.schedules"
MODULE = """
    def polynomial(base, schedule, epoch, epochs, *, power=2.0):
        '''The rate falls to 0 by a power of what is left.'''
        return base * (1 - epoch / epochs) ** power

    def needs(base, schedule, epoch, epochs, *, factor):
        return base * factor

    def below(base, schedule, epoch, epochs):
        return -base

    def raises(base, schedule, epoch, epochs):
        return base / (epochs - epoch - 1)

    def short(base, schedule):
        return base
"""
NAMES = ("polynomial", "needs", "below", "raises", "short")
SMALL = ("--limit-train", "300", "--model", "noisybench_mlp", "--epochs", "4", "--set", "optimizer.lr=0.08")


@pytest.fixture
def schedules(plugin):
    plugin("mine", {GROUP: {name: f"my_schedules:{name}" for name in NAMES}}, {"my_schedules.py": MODULE})


def test_it_is_listed_and_trained_with(cli, schedules, tmp_path):
    code, out, _ = cli("schedules")
    assert code == 0 and "The rate falls to 0 by a power" in out and "cosine-restarts" in out
    assert "not usable: short of mine: is my_schedules:short, which is not a function of (base, schedule, epo" in out
    code, out, _ = cli("schedules", "show", "polynomial")
    assert code == 0 and "power: 2.0" in out
    for power, folder in (("2", "run"), ("1", "other")):
        options = ("--set", "schedule.name=polynomial", "--set", f"schedule.settings.power={power}")
        assert cli("run", *SMALL, *options, "--output", tmp_path / folder)[0] == 0
    record, other = (RunRecord.load(tmp_path / folder / "result.json") for folder in ("run", "other"))
    assert record.curves["learning_rate"] == pytest.approx([0.08, 0.045, 0.02, 0.005])
    assert other.curves["learning_rate"] == pytest.approx([0.08, 0.06, 0.04, 0.02])
    assert record.run_id != other.run_id and record.fingerprints.weights != other.fingerprints.weights


def test_its_defaults_are_part_of_what_a_run_is(schedules):
    plain = resolve_dict({"schedule": {"name": "polynomial"}})
    assert plain.schedule.settings == {"power": 2.0}
    assert plain.run_id == resolve_dict({"schedule": {"name": "polynomial", "settings": {"power": 2.0}}}).run_id


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["name=polynomial", "settings.powr=1"], "key 'schedule.settings.powr': did you mean schedule.settings.power?"),
        (["name=polynomial", "settings.power='x'"], "schedule 'polynomial' at epoch 0 of 4 failed: TypeError"),
        (["name=needs"], "schedule.settings.factor: missing; schedule 'needs' needs it"),
        (["name=below"], "schedule 'below' at epoch 0 of 4 gave the learning rate -0.08; it must be a number"),
        (["name=raises"], "schedule 'raises' at epoch 3 of 4 failed: ZeroDivisionError"),
        (["name=short"], "schedule 'short' is my_schedules:short, which is not a function of (base, schedule, epoch"),
        (["name=polynomal"], "unknown schedule 'polynomal': did you mean polynomial?"),
        (["name=cosine", "settings.power=1"], "unknown configuration key 'schedule.settings.power': there are none"),
    ],
)
def test_what_is_wrong_with_one_is_one_line(cli, schedules, tmp_path, settings, said):
    options = [item for setting in settings for item in ("--set", f"schedule.{setting}")]
    code, _, err = cli("run", *SMALL, *options, "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and said in err
    assert not (tmp_path / "run").exists()


def test_noisybenchs_own_are_listed(cli):
    assert registry.names("schedule") == ["constant", "cosine", "cosine-restarts", "linear", "steps", "triangular"]
    code, out, _ = cli("schedules")
    assert code == 0 and "Half a cosine from the rate down to" in out
