"""noisybench: methods for learning with noisy labels, run under one protocol and compared."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from noisybench.spec.config import RunConfig
    from noisybench.spec.record import RunRecord
    from noisybench.train.loop import run

__version__ = "0.1.0"
__all__ = ["RunConfig", "RunRecord", "run"]

# Loaded when first used: importing the package (as `noisybench --help` does) needs no torch.
_HOMES = {"RunConfig": "noisybench.spec.config", "RunRecord": "noisybench.spec.record", "run": "noisybench.train.loop"}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'noisybench' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
