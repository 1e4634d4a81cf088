"""Weights & Biases, through Accelerate's tracker; off unless asked for."""

from __future__ import annotations

from pathlib import Path

from accelerate import Accelerator

from noisybench.config import RunConfig
from noisybench.noise import NoiseArtifact
from noisybench.progress import Progress
from noisybench.record import RunRecord

PROJECT = "noisybench"


class Tracker:
    """Sends a run's metrics to W&B. A tracker that cannot start is said so once; the local record needs none."""

    def __init__(self, accelerator: Accelerator, config: RunConfig, output: Path, progress: Progress):
        self._accelerator = accelerator
        self._on = config.wandb
        if not config.wandb:
            return
        name = f"{config.method}-{config.dataset}-{config.noise}-{config.noise_rate:g}-seed{config.seed}"
        options = {"name": name, "id": config.run_id, "dir": str(output), "resume": "allow"}
        try:
            accelerator.init_trackers(PROJECT, config=config.science(), init_kwargs={"wandb": options})
        except Exception as error:  # wandb raises its own kinds for a missing login, network or entity
            self._on = False
            reason = " ".join(str(error).split())
            progress.say(f"W&B is off for this run ({reason}); WANDB_MODE=offline logs without a login")

    def log(self, row: dict[str, float | None], step: int) -> None:
        """One epoch's scalars."""
        if self._on:
            self._accelerator.log({name: value for name, value in row.items() if value is not None}, step=step)

    def finish(self, record: RunRecord, noise: NoiseArtifact) -> None:
        """The final metrics and fingerprints as the run's summary."""
        if self._on:
            tracked = self._accelerator.get_tracker("wandb", unwrap=True)
            if self._accelerator.is_main_process:
                tracked.summary.update({**record.metrics, "noise_sha256": noise.sha256})
            self._accelerator.end_training()
