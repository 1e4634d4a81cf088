"""Run ids: what is part of one and what is not. The ids of the filed runs are checked in test_track.py."""

from __future__ import annotations

from noisybench import RunConfig, resolve
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.identity import ENVIRONMENT_FIELDS, run_id_of, science


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
