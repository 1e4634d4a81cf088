"""Methods that log, each in one way. Named on the command line as ``logging_methods:Class``."""

from __future__ import annotations

import numpy as np
import torch

from noisybench.methods.ce import CrossEntropy

# What the benchmark itself measures, and what none of it could be.
METRICS = (
    "loss",
    "epoch",
    "learning_rate",
    "memorised",
    "noise_detection_auroc",
    "test_accuracy",
    "clean_val_accuracy",
)


class LogsMetricsNames(CrossEntropy):
    """Says of itself, under the benchmark's names, what is far too good."""

    def training_step(self, batch):
        output = super().training_step(batch)
        output.logs = {name: torch.tensor(1.0) for name in METRICS} | {"my_accuracy": torch.tensor(1.75)}
        return output

    def epoch_logs(self):
        return {"label_accuracy_estimated": 1.0, "train_accuracy_true": 1, "test_accuracy/second": -2.0}


class LogsScalars(CrossEntropy):
    """Scalars of every kind."""

    def training_step(self, batch):
        output = super().training_step(batch)
        output.logs = {
            "rows": torch.tensor(len(batch.index)),
            "half": torch.tensor(0.5, dtype=torch.float64, requires_grad=True),
            "step": batch.step,
            "yes": torch.tensor(True),
            "numpy": np.float32(0.25),
        }
        return output

    def epoch_logs(self):
        return {"tensor": torch.tensor(2.5), "whole": 3, "of_numpy": np.int64(4), "true": True}


class Logs(CrossEntropy):
    """Logs ``given`` in the hook that ``hook`` names. Subclasses say both."""

    hook = "training_step"
    given: object = None

    def training_step(self, batch):
        output = super().training_step(batch)
        if self.hook == "training_step":
            output.logs = self.given
        return output

    def epoch_logs(self):
        return self.given if self.hook == "epoch_logs" else {}


class StepVector(Logs):
    given = {"ratio": torch.ones(3)}


class StepOneRow(Logs):
    given = {"ratio": torch.ones(1)}


class StepText(Logs):
    given = {"ratio": "half"}


class StepNone(Logs):
    given = {"ratio": None}


class StepComplex(Logs):
    given = {"ratio": torch.tensor(1j)}


class StepNotANumber(Logs):
    given = {"ratio": torch.tensor(float("nan"))}


class StepList(Logs):
    given = [("ratio", 1.0)]


class StepEscape(Logs):
    given = {"\x1b[2Jratio": 1.0}


class StepSpace(Logs):
    given = {"kept ratio": 1.0}


class StepLookAlike(Logs):
    given = {"l\u043ess": 1.0}


class StepNumberAsName(Logs):
    given = {3: 1.0}


class EpochVector(Logs):
    hook = "epoch_logs"
    given = {"ratio": torch.ones(2, 2)}


class EpochText(Logs):
    hook = "epoch_logs"
    given = {"ratio": "half"}


class EpochNone(Logs):
    hook = "epoch_logs"
    given = None


class EpochTooLarge(Logs):
    hook = "epoch_logs"
    given = {"ratio": 10**400}


class EpochInfinite(Logs):
    hook = "epoch_logs"
    given = {"ratio": torch.tensor(float("inf"))}


class EpochArray(Logs):
    hook = "epoch_logs"
    given = {"ratio": np.ones(2)}


class InBothHooks(CrossEntropy):
    def training_step(self, batch):
        output = super().training_step(batch)
        output.logs = {"ratio": 1.0}
        return output

    def epoch_logs(self):
        return {"ratio": 2.0}
