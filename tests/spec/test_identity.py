"""Run ids: what is part of one and what is not. The ids of the filed runs are checked in test_track.py."""

from __future__ import annotations

import pytest

from noisybench import RunConfig, resolve
from noisybench.core.errors import UserError
from noisybench.leaderboard.stored_config import config_fault
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.identity import ENVIRONMENT_FIELDS, run_id_of, science, with_later_fields


def test_run_id_is_of_what_can_change_a_result(tmp_path):
    base = resolve(RunConfig(method="ce"))
    assert resolve(RunConfig(method="ce", output=tmp_path, wandb=True)).run_id == base.run_id
    assert resolve(RunConfig(method="ce", seed=1)).run_id != base.run_id
    assert resolve(RunConfig(**base.model_dump())).run_id == base.run_id  # resolved configurations are fixed points


def test_every_field_outside_the_id_exists():
    assert set(ResolvedConfig.model_fields) >= ENVIRONMENT_FIELDS


def test_later_fields_are_left_out_at_their_old_value_alone():
    old = {"method": "ce", "epochs": 3, "schedule": {"name": "cosine"}, "settings": {}}
    today = old | {"mixed_precision": "no", "schedule": {"name": "cosine", "warmup": 0}, "workers": 4}
    assert science(today) == old and run_id_of(today) == run_id_of(old)
    other = today | {"schedule": {"name": "cosine", "warmup": 2}}
    assert science(other) == old | {"schedule": {"name": "cosine", "warmup": 2}} and run_id_of(other) != run_id_of(old)


def test_batchnorm_of_each_process_is_part_of_the_id():
    plain = resolve(RunConfig(method="ce"))
    assert plain.batch_parts == 1 and "batch_parts" not in plain.science()
    assert resolve(RunConfig(method="ce", batch_parts=2)).science() == plain.science() | {"batch_parts": 2}


@pytest.mark.parametrize("synchronized", [False, True])
def test_what_earlier_releases_stored_is_read(synchronized):
    plain = resolve(RunConfig(method="ce"))
    stored = {name: value for name, value in plain.model_dump(mode="json").items() if name != "batch_parts"}
    stored["sync_batchnorm"] = synchronized
    assert run_id_of(stored) == plain.run_id
    assert with_later_fields(stored) == plain.model_dump(mode="json")
    assert resolve(RunConfig(**stored)) == plain
    assert config_fault(stored) is None
    assert config_fault(stored | {"sync_batchnorm": "yes"}) is not None


def test_a_former_setting_that_meant_something_else_is_refused(cli):
    code, _, errors = cli("run", "--dry-run", "--set", "sync_batchnorm=false")
    assert code == 2 and errors.startswith(
        "noisybench: sync_batchnorm=false is batch_parts now: give --set batch_parts=N"
    )
    assert cli("run", "--dry-run", "--set", "sync_batchnorm=true")[0] == 0


def test_the_authors_initialisation_and_pixels_are_other_runs():
    plain = resolve(RunConfig(method="ce"))
    assert "initialisation" not in plain.science()
    for given in ({"initialisation": "torch"}, {"preprocess": {"mean": [0.0], "std": [1.0]}}):
        assert resolve(RunConfig(method="ce", **given)).science() == plain.science() | given
    with pytest.raises(UserError, match="initialisation 'torch' with pretrained weights"):
        resolve(RunConfig(method="ce", pretrained=True, initialisation="torch"))
