"""A finished run, loaded again: its method with the last checkpoint's state, and its data."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from noisybench.core.errors import UserError
from noisybench.methods.base import Method
from noisybench.parallel.world import World
from noisybench.spec.config import RunConfig, build_config
from noisybench.train import checkpoint_file
from noisybench.train.output import OutputFolder
from noisybench.train.prepare import RunData, Streams, prepare, streams
from noisybench.train.session import build


@dataclass(frozen=True)
class FinishedRun:
    """What a run's folder gives back."""

    config: RunConfig
    method: Method
    data: RunData
    on_device: Streams

    def checked_labels(self) -> tuple[np.ndarray, np.ndarray] | None:
        """True and shipped labels (int64) of the images that the user has checked; None if there are none."""
        if self.config.clean_labels is None:
            return None
        rows = np.flatnonzero(self.data.known >= 0)
        return self.data.known[rows], self.data.noise.noisy[rows]

    @torch.no_grad()
    def predict_train_set(self) -> torch.Tensor:
        """The headline network's class probabilities (n×C) on the noisy train set, in its order, not augmented."""
        self.method.set_mode(training=False)
        train, head = self.on_device.train, self.method.heads[0]
        return torch.cat([self.method.predict(images, head) for _, images in train.sweep(slice(None))])


def load_run(folder: Path, data_path: Path | None = None) -> FinishedRun:
    """Load a finished run from its output folder.

    Args:
        folder: the run's output folder.
        data_path: the dataset's folder, if it has moved since.

    Raises:
        UserError: the folder holds no finished run, or its data or checkpoint are missing or damaged.
    """
    output = OutputFolder(folder)
    if not output.config.is_file():
        raise UserError(f"{folder}: holds no run (there is no config.json); give a run's output folder")
    if output.finished() is None:
        raise UserError(f"{folder}: the run is not finished; finish it with --resume first")
    try:
        stored = json.loads(output.config.read_text(encoding="utf-8"))["config"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{output.config}: unreadable ({error})") from error
    checkpoints = checkpoint_file.checkpoints(output.checkpoints)
    if not checkpoints:
        raise UserError(f"{folder}: the run's checkpoints are gone; its networks cannot be loaded")
    saved = checkpoint_file.load_checkpoint(checkpoints[-1])
    if stored.get("noise") != "none":  # else the labels are the dataset's own
        # The labels are the run's own, from its folder: a file they were once made from need not be there any more.
        stored |= {"noise": "file", "noise_file": output.noise, "noise_file_sha256": None, "noise_rate": 0.0}
    if data_path is not None:
        stored["data_path"] = data_path
    config = build_config(stored)
    accelerator = Accelerator()
    device, dtype = accelerator.device, getattr(torch, config.precision)
    data = prepare(config)
    on_device = streams(config, data, device, dtype)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        method, _ = build(config, data, on_device, World(accelerator), device, dtype)
    method.load_state_dict(saved["method"])
    return FinishedRun(config, method, data, on_device)
