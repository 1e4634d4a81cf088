"""Short runs of several configurations, in however many processes this file is started, and how far two differ.

``python distributed_runs.py CONFIGS FOLDER`` reads a JSON object (name: configuration) and runs each to FOLDER/name.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

import noisybench
from noisybench.parallel.connect import leave
from noisybench.train.checkpoint_file import checkpoints, load_checkpoint

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
    # Trainable rows; averages and mixup; a batch and its peers; contrast; a look-ahead by the optimizer's own step.
    "sop-plus": {},
    "elr-plus": {},
    "peer": {"warmup_epochs": 0, "plan_epochs": [2], "plan_starts": [0.5], "plan_ends": [1.0]},
    "co-learning": {},
    "mlc": {},
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
        **changes,
    }


def run_all(configurations: dict[str, dict], folder: Path) -> None:
    for name, given in configurations.items():
        noisybench.run(noisybench.RunConfig(**given, output=folder / name))


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


if __name__ == "__main__":
    run_all(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
    leave()
