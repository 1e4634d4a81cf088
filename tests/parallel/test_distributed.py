"""Several processes give what one gives: real processes, connected by gloo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from distributed_runs import METHODS, configuration, deviations, run_all

from noisybench.spec.record import RunRecord

CONFIGURATIONS = {
    **{f"{method}-mlp": configuration(method, "noisybench_mlp") for method in METHODS},
    **{f"{method}-batchnorm": configuration(method, "noisybench_cnn4") for method in METHODS},
    # 237 training images in batches of 59: one is left, which joins the last batch.
    **{
        f"{method}-one-left": configuration(method, "noisybench_cnn4", batch_size=59)
        for method in ("mslg", "co-teaching", "dividemix")
    },
    # The backward pass of the synchronized BatchNorm, differentiated in forward mode.
    "mlnt-forward-over-reverse": configuration("mlnt", "noisybench_cnn4", settings={"hessian": "forward-over-reverse"}),
    # A BatchNorm that the method made by itself.
    "own-batchnorm": configuration("own_heads:NormalisedHead", "noisybench_mlp"),
    # Refined in epoch 1, so that epoch 2 has passes with sizes of their own.
    "pes-semi": configuration(
        "pes-semi", "noisybench_cnn4", epochs=3, settings={"warmup_epochs": 1, "head_passes": 1, "refine_lr": 0.01}
    ),
    # timm's BatchNorm with an activation inside.
    "mslg-timm": configuration("mslg", "test_efficientnet", image_size=32, limit_train=100),
}
# What is declared to be another run on two processes.
OF_TWO = {
    "ce-apart": configuration("ce", "noisybench_cnn4", batch_parts=2),
    "ce-bf16": configuration("ce", "noisybench_cnn4", precision="float32", mixed_precision="bf16", batch_parts=2),
}


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
    configurations = folder / "configurations.json"
    configurations.write_text(json.dumps(CONFIGURATIONS | OF_TWO))
    script = Path(__file__).parents[1] / "helpers" / "distributed_runs.py"
    found = launch(script, configurations, folder / "two")
    assert found.returncode == 0, found.stderr[-3000:]
    run_all(CONFIGURATIONS, folder / "one")
    return folder / "one", folder / "two"


@pytest.mark.slow
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
    for curve in (curve for curve in first.curves if "accuracy" in curve or curve == "method/meta_loss"):
        pairs = zip(first.curves[curve], second.curves[curve], strict=True)
        assert all((a is None and b is None) or a == pytest.approx(b, rel=1e-9) for a, b in pairs), curve


@pytest.mark.slow
def test_three_processes_compute_a_batch_of_two_alike(tmp_path):
    """237 training images in batches of 47: the last one has fewer rows than there are processes."""
    every = {method: configuration(method, "noisybench_cnn4", batch_size=47) for method in ("mslg", "dividemix")}
    configurations = tmp_path / "configurations.json"
    configurations.write_text(json.dumps(every))
    script = Path(__file__).parents[1] / "helpers" / "distributed_runs.py"
    found = launch(script, configurations, tmp_path / "three", processes=3)
    assert found.returncode == 0, found.stderr[-3000:]
    run_all(every, tmp_path / "one")
    for name in every:
        assert max(deviations(tmp_path / "one" / name, tmp_path / "three" / name).values()) < 1e-5, name


@pytest.mark.slow
def test_batchnorm_of_each_process_is_another_run(both_ways):
    one, two = both_ways[0] / "ce-batchnorm", both_ways[1] / "ce-apart"
    found = deviations(one, two)
    assert max(value for part, value in found.items() if "running" in part) > 1e-3
    first, second = (RunRecord.load(folder / "result.json") for folder in (one, two))
    assert second.cost.processes == second.config["batch_parts"] == 2 and second.run_id != first.run_id


@pytest.mark.slow
def test_bfloat16_on_two_processes_is_another_run(both_ways):
    record = RunRecord.load(both_ways[1] / "ce-bf16" / "result.json")
    assert record.config["mixed_precision"] == "bf16" and record.config["batch_parts"] == 2
