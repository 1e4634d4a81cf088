"""Global-batch semantics over several processes: what one process would have computed on the whole batch.

Networks are not wrapped in DistributedDataParallel: bilevel methods run several passes per step, and its reducer
allows one. Instead every process computes the mean loss over its own rows, and gradients are combined once, where they
are used, weighted by each process's share of the batch.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor


class World:
    """The processes of one run. With one process every function returns its input."""

    def __init__(self, accelerator: Accelerator):
        self.rank = accelerator.process_index
        self.size = accelerator.num_processes
        self.is_main = accelerator.is_main_process
        self.rows = slice(None)  # this process's rows of the present batch
        self.share = 1.0  # and their fraction of it
        self.meta_share = 1.0  # its fraction of the present meta batch

    def begin_batch(self, rows: slice, size: int, meta_size: int) -> None:
        """Told by the loader: this process has these rows of a batch of ``size``, and a meta batch of ``meta_size``."""
        meta = self.part(meta_size)
        self.rows, self.share = rows, (rows.stop - rows.start) / size
        self.meta_share = (meta.stop - meta.start) / meta_size

    def part(self, size: int) -> slice:
        """This process's contiguous part of ``size`` items; parts differ by at most one item."""
        return slice(size * self.rank // self.size, size * (self.rank + 1) // self.size)

    def average(self, tensors: list[Tensor], share: float | None = None) -> list[Tensor]:
        """Means over this process's rows -> means over the whole batch's rows.

        Args:
            share: this process's fraction of the batch; of the noisy batch if not given.
        """
        if self.size == 1:
            return tensors
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        flat *= self.share if share is None else share
        dist.all_reduce(flat)
        pieces = flat.split([tensor.numel() for tensor in tensors])
        return [piece.view_as(tensor) for piece, tensor in zip(pieces, tensors, strict=True)]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over processes."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes, whatever part of the present batch each has."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def gather_rows(self, rows: Tensor) -> Tensor:
        """All processes' rows, in process order. The number of rows may differ between processes."""
        if self.size == 1:
            return rows
        sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
        longest = int(max(sizes))
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)])

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            dist.barrier()
