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
    # 237 training images in batches of 59: the last batch is one image, fewer than there are processes.
    **{
        f"{method}-last-of-one": configuration(method, "noisybench_mlp", batch_size=59)
        for method in ("mslg", "co-teaching", "dividemix")
    },
    # The backward pass of the synchronized BatchNorm, differentiated in forward mode.
    "mlnt-forward-over-reverse": configuration("mlnt", "noisybench_cnn4", settings={"hessian": "forward-over-reverse"}),
    # Refined in epoch 1, so that epoch 2 has passes with sizes of their own.
    "pes-semi": configuration(
        "pes-semi", "noisybench_cnn4", epochs=3, settings={"warmup_epochs": 1, "head_passes": 1, "refine_lr": 0.01}
    ),
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
    script = Path(__file__).parents[1] / "helpers" / "distributed_runs.py"
    found = launch(script, configurations, folder / "two")
    assert found.returncode == 0, found.stderr[-3000:]
    run_all(every, folder / "one")
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
    for curve in (curve for curve in first.curves if "accuracy" in curve):
        pairs = zip(first.curves[curve], second.curves[curve], strict=True)
        assert all((a is None and b is None) or a == pytest.approx(b, rel=1e-9) for a, b in pairs), curve


@pytest.mark.slow
def test_batchnorm_is_of_each_process_where_it_is_not_synchronized(both_ways):
    one, two = (folder / "ce-plain-batchnorm" for folder in both_ways)
    found = deviations(one, two)
    assert max(value for part, value in found.items() if "running" in part) > 1e-3
