"""noisybench: methods for learning with noisy labels, run under one protocol and compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from noisybench.core.lazy import lazy_names

__version__ = "0.1.0"
__all__ = ["ResolvedConfig", "RunConfig", "RunRecord", "resolve", "run"]

if TYPE_CHECKING:
    from noisybench.spec.config import ResolvedConfig, RunConfig
    from noisybench.spec.layers import resolve
    from noisybench.spec.record import RunRecord
    from noisybench.train.loop import run
else:  # imported when first used: the package itself (as `noisybench --help` has it) needs no torch
    __getattr__ = lazy_names(
        __name__,
        {
            "ResolvedConfig": "noisybench.spec.config",
            "RunConfig": "noisybench.spec.config",
            "RunRecord": "noisybench.spec.record",
            "resolve": "noisybench.spec.layers",
            "run": "noisybench.train.loop",
        },
    )
