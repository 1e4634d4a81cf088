"""Methods that fail on one process, in ways a test asks for by environment variables."""

from __future__ import annotations

import os
import signal

from noisybench.methods import StepOutput
from noisybench.methods.ce import CrossEntropy

CHOSEN = os.environ.get("RANK") == os.environ.get("FAILING_RANK", "1")


class FailsToBuild(CrossEntropy):
    def build(self):
        if CHOSEN:
            raise ValueError("bad luck")
        super().build()


class FailsInStep(CrossEntropy):
    def loss(self, logits, batch):
        if CHOSEN and batch.step == 6:
            raise ValueError("bad luck")
        return super().loss(logits, batch)


class EndsInStep(CrossEntropy):
    """Sends the signal in ENDING_SIGNAL, if any, to its process, or with ENDING=launcher to the one that started it."""

    def loss(self, logits, batch):
        if CHOSEN and batch.step == 6 and "ENDING_SIGNAL" in os.environ:
            ended = os.getppid() if os.environ.get("ENDING") == "launcher" else os.getpid()
            os.kill(ended, signal.Signals[os.environ["ENDING_SIGNAL"]])
        return super().loss(logits, batch)


class StepsByItself(CrossEntropy):
    """Right with one process; with several each trains a network of its own."""

    def training_step(self, batch):
        logits = self.network(batch.images)
        loss = self.loss(logits, batch)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return StepOutput(loss, logits)
