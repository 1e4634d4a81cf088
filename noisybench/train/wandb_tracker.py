"""Weights & Biases: per-epoch metrics, the configuration, the record, the noise artifact, and label histograms."""

from __future__ import annotations

from typing import Any

import numpy as np

from noisybench.train.output import OutputFolder
from noisybench.train.trackers import Results, TrackedRun, Tracker

PROJECT = "noisybench"


class WandbTracker(Tracker):
    """Weights & Biases (`--wandb`); WANDB_MODE=offline writes files for `wandb sync` instead."""

    title = "W&B"
    hint = "WANDB_MODE=offline logs without a login"

    def __init__(self) -> None:
        self._run: Any = None

    def start(self, run: TrackedRun) -> None:
        import wandb

        self._folder = OutputFolder(run.output)
        # W&B takes a run up again under its id.
        self._run = wandb.init(
            project=PROJECT, name=run.title, id=run.config.run_id, dir=str(run.output), resume="allow"
        )
        self._run.config.update(run.config.science(), allow_val_change=True)

    def log(self, row: dict[str, float], step: int) -> None:
        self._run.log(row, step=step)

    def finish(self, results: Results) -> None:
        import wandb

        record, noise, run = results.record, results.noise, self._run
        run.summary.update({**record.metrics, "noise_sha256": noise.sha256, "run_id": record.run_id})
        histograms = {"labels/given": label_histogram(results.given_labels, noise.num_classes)}
        if results.estimated_labels is not None:
            histograms["labels/estimated"] = label_histogram(results.estimated_labels, noise.num_classes)
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

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()


def label_histogram(labels: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Counts of each class (C int64) and the C + 1 edges between bins, class c in the middle of its bin."""
    return np.bincount(labels, minlength=num_classes), np.arange(num_classes + 1) - 0.5
