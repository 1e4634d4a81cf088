"""Weights & Biases, through Accelerate's tracker; off unless asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accelerate import Accelerator

from noisybench.core.errors import one_line
from noisybench.noise import NoiseArtifact
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.record import RunRecord
from noisybench.train.output import OutputFolder
from noisybench.train.progress import Progress

PROJECT = "noisybench"


class Tracker:
    """Sends a run's metrics to W&B. A tracker that cannot start is said so once; the local record needs none."""

    def __init__(self, accelerator: Accelerator, config: ResolvedConfig, output: Path, progress: Progress):
        self._accelerator = accelerator
        self._on = config.wandb
        self._folder = OutputFolder(output)
        self._say = progress.say
        if not config.wandb:
            return
        name = f"{config.method}-{config.dataset}-{config.noise}-{config.noise_rate:g}-seed{config.seed}"
        options = {"name": name, "id": config.run_id, "dir": str(output), "resume": "allow"}
        try:
            accelerator.init_trackers(PROJECT, config=config.science(), init_kwargs={"wandb": options})
        except Exception as error:  # wandb raises its own kinds for a missing login, network or entity
            self._on = False
            progress.say(f"W&B is off for this run ({one_line(error)}); WANDB_MODE=offline logs without a login")

    def log(self, row: dict[str, float | None], step: int) -> None:
        """One epoch's scalars."""
        if self._on:
            self._accelerator.log({name: value for name, value in row.items() if value is not None}, step=step)

    def finish(
        self, record: RunRecord, noise: NoiseArtifact, given_labels: np.ndarray, estimated_labels: np.ndarray | None
    ) -> None:
        """What stays of the run: its summary, the whole record, the noise artifact, and how often each label occurs.

        Args:
            record: as saved in the output folder.
            given_labels, estimated_labels: n int64, of the noisy train set.
        """
        if not self._on:
            return
        if self._accelerator.is_main_process:
            try:
                self._log_results(record, noise, given_labels, estimated_labels)
            except Exception as error:  # as above: what W&B raises must not cost the run its local record
                self._say(f"W&B has not taken all of the results ({one_line(error)}); the local record is complete")
        self._accelerator.end_training()

    def close(self) -> None:
        """End the connection of a run that was stopped; W&B takes the run up again under its id."""
        if not self._on:
            return
        try:
            self._accelerator.end_training()
        except Exception as error:  # as above
            self._say(f"W&B has not taken all so far ({one_line(error)})")

    def _log_results(self, record, noise, given_labels, estimated_labels) -> None:
        import wandb

        run = self._accelerator.get_tracker("wandb", unwrap=True)
        run.summary.update({**record.metrics, "noise_sha256": noise.sha256, "run_id": record.run_id})
        histograms = {"labels/given": label_histogram(given_labels, noise.num_classes)}
        if estimated_labels is not None:
            histograms["labels/estimated"] = label_histogram(estimated_labels, noise.num_classes)
        run.log({name: wandb.Histogram(np_histogram=histogram) for name, histogram in histograms.items()})
        artifact = wandb.Artifact(
            f"noise-{noise.sha256[:16]}",
            type="noise",
            metadata={"sha256": noise.sha256, "rule": noise.rule, **record.noise},
        )
        artifact.add_file(str(self._folder.noise))
        run.log_artifact(artifact)
        # `noisybench leaderboard pull` takes the record from this file, byte for byte.
        run.save(str(self._folder.result), base_path=str(self._folder.path), policy="now")


def label_histogram(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of each class (C int64) and the C + 1 edges between bins, class c in the middle of its bin."""
    return np.bincount(labels, minlength=num_classes), np.arange(num_classes + 1) - 0.5
