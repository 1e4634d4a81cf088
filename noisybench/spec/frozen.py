"""Frozen runs: how long, and under which optimizer and schedule, heads are trained on fixed features.

What a method counts in epochs or steps keeps its share of the run, as on a short track. What differs for a dataset is
in its card (``[frozen]``), for a method in its card's recipes ``default:frozen`` and ``DATASET:frozen``.
"""

from __future__ import annotations

from typing import Any

from noisybench.core.errors import UserError

FROZEN = "frozen"

# One for all methods; a head sees each image in every epoch at the cost of a matrix product.
TABLE: dict[str, Any] = {
    "model": "noisybench_lite0",
    "pretrained": True,
    "epochs": 20,
    "batch_size": 256,
    "order": "shuffled",
    "optimizer": {"name": "sgd", "lr": 0.02, "momentum": 0.9, "weight_decay": 5e-4},
    "schedule": {"name": "cosine"},
}


def head_widths(head: str) -> list[int]:
    """The hidden layers of a head: none for ``linear``, else the widths in ``mlp:WIDTH,…``.

    Raises:
        UserError: it is neither.
    """
    kind, _, widths = head.partition(":")
    if kind == "linear" and not widths:
        return []
    try:
        found = [int(width) for width in widths.split(",")]
    except ValueError:
        found = []
    if kind != "mlp" or not found or not all(1 <= width <= 65_536 for width in found):
        raise UserError(f"head {head!r}: give linear, or mlp: and the widths of hidden layers, for example mlp:256")
    return found
