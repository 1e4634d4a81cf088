"""Per-sample state of a method: named tensors with one row per training sample."""

from __future__ import annotations

import torch
from torch import Tensor

from noisybench.parallel.world import World


class SampleStore:
    """Named tensors of n rows, indexed by a batch's ``index`` (row in the noisy train set).

    Every process holds all rows. A process writes the rows of its own part of a batch; :meth:`write` shares them, so
    the tables stay equal everywhere.
    """

    def __init__(self, num_rows: int, device: torch.device, world: World):
        self.num_rows = num_rows
        self._device = device
        self._world = world
        self._columns: dict[str, Tensor] = {}

    def add(self, name: str, values: Tensor) -> None:
        """Add a column: n×… initial values, kept on the training device.

        Raises:
            ValueError: the name is taken, or the first dimension is not n.
        """
        if name in self._columns:
            raise ValueError(f"the store has a column {name!r} already")
        if len(values) != self.num_rows:
            raise ValueError(f"column {name!r} has {len(values)} rows, the train set {self.num_rows}")
        self._columns[name] = values.detach().to(self._device).clone()

    def __getitem__(self, name: str) -> Tensor:
        """The whole column (n×…). Read it; change it through :meth:`write` or :meth:`replace`."""
        return self._columns[name]

    def read(self, name: str, index: Tensor) -> Tensor:
        """The rows of a batch."""
        return self._columns[name][index]

    def write(self, name: str, index: Tensor, values: Tensor) -> None:
        """Replace the rows of this process's part of the batch, on all processes."""
        column = self._columns[name]
        index, values = (
            self._world.gather_rows(index),
            self._world.gather_rows(values.detach().to(column.dtype)),
        )
        column.index_copy_(0, index, values)

    def trainable(self, name: str, index: Tensor) -> Tensor:
        """The rows of a batch as a tensor that takes a gradient, for a loss of a mean over this process's rows.

        After ``backward``, :meth:`descend` moves them.
        """
        return self.read(name, index).requires_grad_()

    def descend(self, name: str, index: Tensor, rows: Tensor, lr: float) -> None:
        """row ← row − lr·gradient, plain SGD at a rate of the column's own, on all processes.

        Args:
            index: of the batch.
            rows: what :meth:`trainable` gave, after ``backward``. The gradient taken is that of the mean over the
                *global* batch: a row's step is inverse to the batch size.
            lr: the learning rate; no schedule changes it.

        Raises:
            ValueError: the rows have no gradient.
        """
        if rows.grad is None:
            raise ValueError(f"the rows of column {name!r} have no gradient: no loss stepped on depends on them")
        self.write(name, index, rows.detach() - lr * self._world.share * rows.grad)

    def replace(self, name: str, values: Tensor) -> None:
        """Replace a whole column by values that every process holds alike, such as a full pass's.

        Raises:
            ValueError: they are not of the column's shape.
        """
        column = self._columns[name]
        if values.shape != column.shape:  # copy_ alone would spread one value over many
            raise ValueError(f"column {name!r} has shape {tuple(column.shape)}, its new values {tuple(values.shape)}")
        column.copy_(values)

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._columns)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put back what :meth:`state_dict` gave.

        Raises:
            ValueError: the columns are not the same, or not of the same shapes.
        """
        differing = sorted(self._columns.keys() ^ state.keys())
        if differing:
            raise ValueError(f"saved state and store differ in column {differing[0]!r}: add all columns in build()")
        for name, column in self._columns.items():
            copy_saved(name, column, state[name])


def copy_saved(name: str, tensor: Tensor, saved: object) -> None:
    """Copy a tensor's saved values into it; ``copy_`` alone would spread one value over many, or round.

    Raises:
        ValueError: what was saved is no tensor, or of another shape or type.
    """
    if not isinstance(saved, Tensor):
        raise ValueError(f"saved {name!r} is no tensor")
    if saved.shape != tensor.shape or saved.dtype != tensor.dtype:
        found, expected = (f"{tuple(each.shape)} {each.dtype}" for each in (saved, tensor))
        raise ValueError(f"saved {name!r} has shape and type {found}, not {expected}")
    tensor.copy_(saved)
