"""The batch of three samples and three classes on which formulas were worked out in float64 from the official code."""

from __future__ import annotations

import dataclasses

import torch
from small_method import small_batch
from torch import Tensor

from noisybench.data.loader import Batch
from noisybench.methods import Method

LOGITS = torch.tensor([[2, 1, 0], [0, 1, 3], [1, 1, 1]], dtype=torch.float64)
OTHER_LOGITS = torch.tensor([[1, 2, 0], [0, 0, 2], [2, 0, 1]], dtype=torch.float64)
LABELS = torch.tensor([0, 1, 2])
ROWS = torch.tensor([0, 1, 2])


def worked_batch(method: Method, epoch: int = 0) -> Batch:
    """Rows 0 to 2 of a small method's train set, under the worked labels."""
    return dataclasses.replace(small_batch(method, [0, 1, 2], epoch=epoch), labels=LABELS)


def near(found: Tensor, expected: list | float) -> None:
    """Fail unless both agree to the six digits in which the worked numbers are noted."""
    torch.testing.assert_close(found.detach(), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1.1e-6)
