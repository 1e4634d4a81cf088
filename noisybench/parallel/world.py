"""Global-batch semantics over several processes: what one process would have computed on the whole batch.

Networks are not wrapped in DistributedDataParallel: bilevel methods run several passes per step, and its reducer
allows one. Instead every process computes the mean loss over its own rows, and gradients are combined once, where they
are used, weighted by each process's share of the batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.distributed as dist
from accelerate import Accelerator
from torch import Tensor, nn

from noisybench.core.errors import ProcessLost, SaidElsewhere, UserError


@dataclass(frozen=True)
class Share:
    """One process's part of a global batch.

    Attributes:
        of_batch: this process's fraction of the batch's rows.
        of_meta: its fraction of the meta batch that goes with it.
        alone: whether every process computes the whole batch, since it has fewer rows than there are processes.
    """

    of_batch: float
    of_meta: float
    alone: bool


class World:
    """The processes of one run. With one process every function returns its input.

    A batch of fewer rows than processes is not shared out: every process computes all of it (``alone``).
    """

    def __init__(self, accelerator: Accelerator):
        self.rank: int = accelerator.process_index
        self.size: int = accelerator.num_processes
        self.is_main: bool = accelerator.is_main_process
        self._accelerator = accelerator
        self._present = Share(1.0, 1.0, alone=self.size == 1)

    def __deepcopy__(self, memo: object) -> World:
        return self  # a copied network is still of this world

    def share_of(self, size: int, meta_size: int) -> Share:
        """This process's part of a batch of ``size`` rows that goes with a meta batch of ``meta_size``."""
        mine, meta = self.part_of_batch(size, size), self.part_of_batch(meta_size, size)
        return Share(
            (mine.stop - mine.start) / size,
            (meta.stop - meta.start) / meta_size,
            alone=size < self.size or self.size == 1,
        )

    @contextlib.contextmanager
    def computing(self, share: Share) -> Iterator[None]:
        """Within it a batch of this share is the present one: means, sums and gathered rows are over that batch."""
        before, self._present = self._present, share
        try:
            yield
        finally:
            self._present = before

    @property
    def share(self) -> float:
        """This process's fraction of the present batch."""
        return self._present.of_batch

    @property
    def meta_share(self) -> float:
        """Its fraction of the present meta batch."""
        return self._present.of_meta

    @property
    def alone(self) -> bool:
        """Whether every process computes all of the present batch; with one process always."""
        return self._present.alone

    def prepare(self, network: nn.Module) -> nn.Module:
        """Let a network's passes run in the run's mixed precision, with outputs in float32. No process is involved."""
        return self._accelerator.prepare_model(network, device_placement=False, evaluation_mode=True)

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Within it operations run in the run's mixed precision, as a prepared network's passes do."""
        return getattr(self._accelerator, "autocast", contextlib.nullcontext)()

    def part(self, size: int) -> slice:
        """This process's contiguous part of ``size`` items; parts differ by at most one item."""
        return slice(0, size) if self.alone else self._part(size)

    def part_of_batch(self, size: int, batch_size: int) -> slice:
        """This process's part of ``size`` items that go with a batch of ``batch_size`` rows, or of its rows."""
        return slice(0, size) if batch_size < self.size else self._part(size)

    def _part(self, size: int) -> slice:
        return slice(size * self.rank // self.size, size * (self.rank + 1) // self.size)

    def average(self, tensors: list[Tensor], share: float | None = None) -> list[Tensor]:
        """Means over this process's rows -> means over the whole batch's rows.

        Args:
            share: this process's fraction of the batch; of the noisy batch if not given.
        """
        if self.size == 1 or not tensors:
            return tensors
        flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
        # Alone, all have the same gradients up to rounding: they are averaged all the same, to stay equal.
        flat *= 1 / self.size if self.alone else self.share if share is None else share
        with lost_processes():
            dist.all_reduce(flat)
        pieces = flat.split([tensor.numel() for tensor in tensors])
        return [piece.view_as(tensor) for piece, tensor in zip(pieces, tensors, strict=True)]

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over processes; of a batch that all compute alone, the tensor itself."""
        return tensor if self.alone else self.total(tensor)

    def total(self, tensor: Tensor) -> Tensor:
        """The sum of a tensor over all processes, whatever part of the present batch each has."""
        if self.size == 1:
            return tensor
        total = tensor.detach().clone()
        with lost_processes():
            dist.all_reduce(total)
        return total

    def gather_rows(self, rows: Tensor) -> Tensor:
        """All processes' rows, in process order. The number of rows may differ between processes."""
        if self.size == 1:
            return rows
        if self.alone:
            rows = rows.detach().clone()
            with lost_processes():
                dist.broadcast(rows, 0)
            return rows
        with lost_processes():
            return self._gather(rows)

    def _gather(self, rows: Tensor) -> Tensor:
        sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.size)]
        dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
        longest = int(max(sizes))
        padded = rows.new_zeros((longest, *rows.shape[1:]))
        padded[: len(rows)] = rows.detach()
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)])

    def average_buffers(self, modules: Iterable[nn.Module]) -> None:
        """Make the modules' float buffers (BatchNorm's running statistics) equal: their mean over processes.

        Every process has run the same number of passes, each on its own rows.
        """
        if self.size == 1:
            return
        buffers = [b for module in modules for b in module.buffers() if b.is_floating_point()]
        for buffer, mean in zip(buffers, self.average(buffers, share=1 / self.size), strict=True):
            buffer.copy_(mean)

    def gather_texts(self, text: str) -> list[str]:
        """One text of each process, in process order."""
        if self.size == 1:
            return [text]
        ended = torch.tensor([*text.encode(), 0], dtype=torch.uint8, device=self._accelerator.device)
        return bytes(self.gather_rows(ended).tolist()).decode().split("\0")[:-1]

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Do something that may fail on some processes only: if it fails on one, all end, and one of them tells.

        Raises:
            UserError: on the main process: its own error, or the first other process's, named.
            SaidElsewhere: on the others.
        """
        error: Exception | None = None
        try:
            yield
        except (ProcessLost, SaidElsewhere):
            raise
        except Exception as raised:
            error = raised
        if self.size > 1:
            self._agree(error)
        if error is not None:
            raise error

    def _agree(self, error: Exception | None) -> None:
        """Raise what :meth:`together` says, unless no process has an error or this one's own is to be raised."""
        texts = self.gather_texts(_text(error))
        if not any(texts):
            return
        if not self.is_main:
            raise SaidElsewhere from error
        if not texts[0]:
            number = next(number for number, text in enumerate(texts) if text)
            raise UserError(f"process {number} of {self.size}: {texts[number]}")

    def same(self, what: str, value: str) -> None:
        """Check that all processes found the same.

        Raises:
            UserError: they did not; ``what`` names it. As in :meth:`together`.
        """
        found = self.gather_texts(value)
        with self.together():
            for number, other in enumerate(found):
                if other != found[0]:
                    raise UserError(f"process {number} of {self.size} has another {what} than process 0")

    def wait(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            with lost_processes():
                dist.barrier()


def _text(error: Exception | None) -> str:
    if error is None:
        return ""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def lost_processes() -> Iterator[None]:
    """What a collective raises when a process is gone, as :class:`ProcessLost`."""
    try:
        yield
    except RuntimeError as error:  # torch raises this and its subclasses for closed connections and timeouts
        raise ProcessLost from error
