"""MSLG, and a signal to one process of several while it trains."""

from __future__ import annotations

import os
import signal

from noisybench.methods.mslg import MSLG


class StoppedFromWithin(MSLG):
    """Sends SIGTERM to process 1 before the step that the environment's STOP_AT names."""

    def training_step(self, batch):
        if os.environ.get("RANK") == "1" and os.environ.get("STOP_AT") == str(batch.step):
            signal.raise_signal(signal.SIGTERM)
        return super().training_step(batch)
