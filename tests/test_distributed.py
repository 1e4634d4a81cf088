"""Several processes give what one gives: real processes, connected by gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from distributed_runs import run_all

from noisybench.record import RunRecord
from noisybench.state import checkpoints, load_checkpoint

# Short phases, so that two epochs reach every one of them.
METHODS = {
    "ce": {},
    "mslg": {"warmup_epochs": 1, "kappa": 4.0},
    "mlnt": {"warmup_epochs": 1, "label_sets": 2, "start_step": 0, "ramp_steps": 2, "ramp_decay": 0.0, "decay": 0.5},
    "co-teaching": {"ramp_epochs": 2},
    "elr": {},
    "pencil": {"warmup_epochs": 1, "freeze_epoch": 2},
    "dividemix": {"warmup_epochs": 1},
    # What the seven leave out: steps on the meta set, and a network that learns weights.
    "clean-only": {},
    "meta-weight-net": {},
}


def configuration(method: str, model: str, *, settings: dict | None = None, **changes) -> dict:
    """A short run in float64."""
    return {
        "method": method,
        "model": model,
        "settings": METHODS.get(method, {}) | (settings or {}),
        "limit_train": 300,
        "epochs": 2,
        "batch_size": 64,
        "precision": "float64",
        "noise_rate": 0.4,
        "sync_batchnorm": True,
        **changes,
    }


CONFIGURATIONS = {
    **{f"{method}-mlp": configuration(method, "noisybench_mlp") for method in METHODS},
    **{f"{method}-batchnorm": configuration(method, "noisybench_cnn4") for method in METHODS},
    # 237 training images in batches of 59: the last batch is one image, fewer than there are processes.
    **{
        f"{method}-last-of-one": configuration(method, "noisybench_mlp", batch_size=59)
        for method in ("mslg", "co-teaching", "dividemix")
    },
    # The backward pass of the synchronized BatchNorm, differentiated in forward mode.
    "mlnt-forward-over-reverse": configuration("mlnt", "noisybench_cnn4", settings={"hessian": "forward-over-reverse"}),
    # timm's BatchNorm with an activation inside.
    "mslg-timm": configuration("mslg", "test_efficientnet", image_size=32, limit_train=100),
}
PLAIN_BATCHNORM = configuration("ce", "noisybench_cnn4", sync_batchnorm=False)


def launch(*command: str | Path, processes: int = 2, **environment: str) -> subprocess.CompletedProcess:
    """Start so many gloo processes of a script or module by torchrun."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    return subprocess.run(
        [*torchrun, *map(str, command)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(scope="module")
def both_ways(tmp_path_factory) -> tuple[Path, Path]:
    """All configurations run by one process and by two; the two folders."""
    folder = tmp_path_factory.mktemp("runs")
    every = CONFIGURATIONS | {"ce-plain-batchnorm": PLAIN_BATCHNORM}
    configurations = folder / "configurations.json"
    configurations.write_text(json.dumps(every))
    script = Path(__file__).with_name("distributed_runs.py")
    found = launch(script, configurations, folder / "two")
    assert found.returncode == 0, found.stderr[-3000:]
    run_all(every, folder / "one")
    return folder / "one", folder / "two"


def tensors(state, path: str = ""):
    """The float tensors of a checkpoint, by name."""
    if isinstance(state, dict):
        for key, value in state.items():
            yield from tensors(value, f"{path}/{key}")
    elif isinstance(state, torch.Tensor) and state.is_floating_point():
        yield path, state


def deviations(one: Path, two: Path) -> dict[str, float]:
    """The largest difference of each tensor of two runs' last checkpoints, relative to the tensor's largest value.

    Without the optimizers' momentum: that of a weight before a BatchNorm is rounding alone.
    """
    first, second = (dict(tensors(load_checkpoint(checkpoints(f / "checkpoints")[-1])["method"])) for f in (one, two))
    assert first.keys() == second.keys()
    found = {}
    for name, value in first.items():
        if "optimizer" not in name:
            size = value.abs().max().clamp_min(1e-6)  # some running means are 0 but for rounding
            found[name] = float((value - second[name]).abs().max() / size)
    return found


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_two_processes_are_one(both_ways, name):
    one, two = (folder / name for folder in both_ways)
    found = deviations(one, two)
    assert any("network" in part for part in found)
    assert max(found.values()) < 1e-5, max(found, key=found.get)
    first, second = (RunRecord.load(folder / "result.json") for folder in (one, two))
    assert (first.cost.processes, second.cost.processes) == (1, 2)
    assert first.run_id == second.run_id
    assert second.metrics == pytest.approx(first.metrics, rel=1e-9)
    for curve in (curve for curve in first.curves if "accuracy" in curve):
        pairs = zip(first.curves[curve], second.curves[curve], strict=True)
        assert all((a is None and b is None) or a == pytest.approx(b, rel=1e-9) for a, b in pairs), curve


def test_batchnorm_is_of_each_process_where_it_is_not_synchronized(both_ways):
    one, two = (folder / "ce-plain-batchnorm" for folder in both_ways)
    found = deviations(one, two)
    assert max(value for part, value in found.items() if "running" in part) > 1e-3
