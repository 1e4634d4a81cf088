"""What a method declares to be told, and whether a run has it."""

from __future__ import annotations

import numpy as np

from noisybench.core.errors import UserError
from noisybench.data import Splits
from noisybench.methods.priors import needs_fault
from noisybench.spec import registry
from noisybench.spec.config import ResolvedConfig


def declared_needs(name: str) -> frozenset[str]:
    """What a method declares to be told.

    Raises:
        UserError: it declares what there is not.
    """
    needs = registry.load_method(name).needs
    fault = needs_fault(needs)
    if fault is not None:
        raise UserError(f"method {name!r}: {fault}")
    return frozenset(needs)


def refuse_what_no_split_has(config: ResolvedConfig, splits: Splits, known: np.ndarray) -> None:
    """Refuse a method that needs what this split of the data has not: known before any image is decoded.

    Args:
        known: N int64, true labels of the official train part, −1 where nobody knows.

    Raises:
        UserError: there is no clean meta set, or no true label to make a transition matrix from.
    """
    needs = declared_needs(config.method)
    if "meta_set" in needs and not len(splits.meta):
        shrunk = "" if config.limit_train is None else f" at --limit-train {config.limit_train}"
        raise UserError(
            f"method {config.method!r} needs a clean meta set, and meta_size is 0{shrunk}: give --meta-size, or "
            f"--clean-labels where true labels are unknown"
        )
    if "transition_matrix" in needs and not (known[splits.train] >= 0).all():
        raise UserError(
            f"method {config.method!r} needs the transition matrix, which nobody knows for the labels of "
            f"{config.dataset}"
        )


def refuse_an_unknown_rate(config: ResolvedConfig, rate: float, known: bool) -> None:
    """Refuse a method that needs a noise rate which nobody knows and nobody gave.

    Raises:
        UserError: it is so.
    """
    if not known and rate == 0 and "noise_rate" in declared_needs(config.method):
        raise UserError(
            f"method {config.method!r} needs the noise rate, which is unknown for the labels of {config.dataset}: "
            f"give your estimate as --noise-rate"
        )
