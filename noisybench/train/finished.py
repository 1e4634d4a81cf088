"""A finished run, loaded again: its session with the last checkpoint's state."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from accelerate import Accelerator

from noisybench.core.errors import DamagedCheckpoint, UserError
from noisybench.parallel.world import World
from noisybench.spec.identity import with_later_fields
from noisybench.spec.layers import resolve_dict
from noisybench.train import checkpoint_file
from noisybench.train.build import Place
from noisybench.train.extract import with_features
from noisybench.train.output import OutputFolder
from noisybench.train.prepare import prepare
from noisybench.train.progress import Progress
from noisybench.train.session import Session


def load_run(folder: Path, data_path: Path | None = None) -> Session:
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
        stored = with_later_fields(stored)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{output.config}: unreadable ({error})") from error
    checkpoints = checkpoint_file.checkpoints(output.checkpoints)
    if not checkpoints:
        raise UserError(f"{folder}: the run's checkpoints are gone; its networks cannot be loaded")
    saved = checkpoint_file.load_checkpoint(checkpoints[-1])
    if stored.get("noise") != "none":  # else the labels are the dataset's own
        # The labels are the run's own, from its folder: a file they were once made from need not be there any more.
        stored |= {"noise": "file", "noise_file": output.noise, "noise_file_sha256": None, "noise_rate": 0.0}
    # The checkpoint has the networks' weights: those they once started from need not be there either.
    stored |= {"pretrained": False, "weights": None, "weights_sha256": None}
    if data_path is not None:
        stored["data_path"] = data_path
    config = resolve_dict(stored)
    accelerator = Accelerator()
    device, dtype = accelerator.device, getattr(torch, config.precision)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        data = with_features(config, prepare(config), device, Progress())
        session = Session(config, data, Place(World(accelerator), device, dtype))
    try:
        session.load_state_dict(saved)
    except DamagedCheckpoint as error:
        raise UserError(f"checkpoint {checkpoints[-1]}: {error}") from error
    return session
