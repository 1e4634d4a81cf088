"""What the environment says of a process, and what of it is refused: one line each."""

from __future__ import annotations

import pytest

from noisybench.core.errors import UserError
from noisybench.core.time_limit import seconds
from noisybench.parallel.environment import Launch, launch, refuse_other_settings

LAUNCHED = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "h",
    "MASTER_PORT": "29500",
}


@pytest.fixture
def environment(monkeypatch):
    """Set these variables, and no other of a launcher or of Accelerate."""

    def put(**values: str) -> None:
        for name in (*LAUNCHED, "ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_BACKEND"):
            monkeypatch.delenv(name, raising=False)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return put


def test_who_launched_this_process(environment):
    environment()
    assert launch() == Launch(0, 1, 0, 1, "", 0)
    environment(**LAUNCHED)
    assert launch() == Launch(3, 4, 1, 2, "h", 29500)
    environment(WORLD_SIZE="1", RANK="0", LOCAL_RANK="0")  # torchrun with one process
    assert launch().size == 1
    environment(WORLD_SIZE="", LOCAL_RANK="")
    assert launch().size == 1


LEFT_OVER = {
    "LOCAL_RANK=0 without WORLD_SIZE": {"LOCAL_RANK": "0"},
    "LOCAL_RANK=1 without WORLD_SIZE": {"LOCAL_RANK": "1"},
    "RANK=0 without WORLD_SIZE": {"RANK": "0"},
    "WORLD_SIZE=2 without RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT": {"WORLD_SIZE": "2"},
    "WORLD_SIZE=4 without MASTER_PORT": {**LAUNCHED, "MASTER_PORT": " "},
    "WORLD_SIZE=abc: a launcher sets it to a whole number from 1": {"WORLD_SIZE": "abc"},
    "WORLD_SIZE=0: ": {"WORLD_SIZE": "0"},
    "WORLD_SIZE=-2: ": {"WORLD_SIZE": "-2"},
    "WORLD_SIZE=99999999999999999999: ": {"WORLD_SIZE": "9" * 5000},
    "RANK=4: a launcher sets it to a whole number from 0 to 3": {**LAUNCHED, "RANK": "4"},
    "RANK=1: a launcher sets it to a whole number from 0 to 0": {"WORLD_SIZE": "1", "RANK": "1"},
    "LOCAL_RANK=x: ": {**LAUNCHED, "LOCAL_RANK": "x"},
    "LOCAL_WORLD_SIZE=9: ": {**LAUNCHED, "LOCAL_WORLD_SIZE": "9"},
    "MASTER_PORT=70000: ": {**LAUNCHED, "MASTER_PORT": "70000"},
}


@pytest.mark.parametrize("said", LEFT_OVER)
def test_what_makes_no_launch_is_refused(environment, said):
    environment(**LEFT_OVER[said])
    with pytest.raises(UserError) as raised:
        launch()
    assert str(raised.value).startswith(f"environment: {said}") and "unset it" in str(raised.value)


@pytest.mark.parametrize("said", LEFT_OVER)
def test_a_run_says_so_and_other_commands_go_on(environment, cli, tmp_path, said):
    environment(**LEFT_OVER[said])
    code, _, error = cli("run", "--method", "ce", "--epochs", "1", "--output", tmp_path / "run")
    assert code == 2 and error.startswith(f"noisybench: environment: {said}") and error.count("\n") == 1
    assert not (tmp_path / "run").exists()
    code, out, error = cli("methods")
    assert code == 0 and "mslg" in out and error == ""
    code, _, error = cli("methods", "show", "mlsg")
    assert code == 2 and error.startswith("noisybench: unknown method 'mlsg': did you mean mslg")
    assert error.count("\n") == 1


SETTINGS = {
    "ACCELERATE_MIXED_PRECISION": ("fp16", "this run's mixed_precision is no"),
    "ACCELERATE_DYNAMO_BACKEND": ("INDUCTOR", "compiled networks round otherwise"),
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": ("4", "give a larger --batch-size"),
    "ACCELERATE_USE_FSDP": ("true", "networks are not sharded"),
    "ACCELERATE_USE_DEEPSPEED": ("true", "leave it out"),
    "ACCELERATE_USE_MEGATRON_LM": ("true", "leave it out"),
    "ACCELERATE_USE_PARALLELISM_CONFIG": ("true", "leave it out"),
    "ACCELERATE_DOWNCAST_BF16": ("1", "mixed_precision=bf16"),
    "XLA_USE_BF16": ("1", "leave it out"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_that_would_change_results_or_be_ignored_is_refused(environment, cli, monkeypatch, tmp_path, name):
    value, why = SETTINGS[name]
    environment(**{name: value})
    code, _, error = cli("run", "--method", "ce", "--epochs", "1", "--output", tmp_path / "run")
    assert code == 2 and error.startswith(
        f"noisybench: {name}={value.lower() if 'PREC' in name else value} (Accelerate"
    )
    assert why in error and error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_what_accelerates_launcher_always_sets_is_no_setting(environment):
    environment(
        ACCELERATE_MIXED_PRECISION="no", ACCELERATE_DYNAMO_BACKEND="no", ACCELERATE_GRADIENT_ACCUMULATION_STEPS="1"
    )
    refuse_other_settings("no")
    environment(ACCELERATE_MIXED_PRECISION="bf16")
    refuse_other_settings("bf16")


def test_time_limits_are_numbers(monkeypatch):
    monkeypatch.setenv("NOISYBENCH_STOP_SECONDS", "1.5")
    assert seconds("NOISYBENCH_STOP_SECONDS", 40) == 1.5
    for text in ("soon", "-1", "0", "inf", "nan"):
        monkeypatch.setenv("NOISYBENCH_STOP_SECONDS", text)
        with pytest.raises(UserError, match="give a number of seconds"):
            seconds("NOISYBENCH_STOP_SECONDS", 40)
