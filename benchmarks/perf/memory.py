"""Peak memory of a training step, counted tensor by tensor."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveStorages(TorchDispatchMode):
    """Counts the bytes of all storages that are alive while it is active, and their peak.

    Every operator's results pass through here. A result's storage is counted once, however many views share it, and a
    weak reference to it tells when it is freed: then nobody holds it any more, neither the code nor a graph that saved
    it for a backward pass. What a kernel allocates and frees within one operator (a convolution's workspace) is not
    seen, nor is memory that an allocator keeps. The count is the same on every device and in every repetition, which a
    process's resident set is not.

    Args:
        device: where storages count.

    Attributes:
        now: bytes alive.
        peak: the most bytes alive at once so far.
    """

    def __init__(self, device: torch.device):
        super().__init__()
        self._device = device
        self._alive: dict[int, tuple[weakref.ref, int]] = {}
        self.now = self.peak = 0

    def watch(self, tensors: Iterable[Tensor]) -> None:
        """Count tensors that were there before."""
        for tensor in tensors:
            if tensor.device.type == self._device.type:
                self._count(tensor.untyped_storage())

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        results = function(*arguments, **(keywords or {}))
        self.watch(leaf for leaf in tree_leaves(results) if isinstance(leaf, Tensor))
        return results

    def _count(self, storage: torch.UntypedStorage) -> None:
        name, size = id(storage), storage.nbytes()
        if name in self._alive:
            return

        def freed(_, name=name):
            self.now -= self._alive.pop(name)[1]

        self._alive[name] = (weakref.ref(storage, freed), size)
        self.now += size
        self.peak = max(self.peak, self.now)


def peak_bytes(action: Callable[[], object], held: Callable[[], Iterable[Tensor]], device: torch.device) -> int:
    """The most bytes that an action needs at once: the tensors it starts from, and those it makes.

    Args:
        action: runs once.
        held: gives the tensors that are there before: networks, the optimizer's and the method's state, the batch.
            Called once, so that nobody but their owner keeps them alive during the action.
        device: whose memory counts.
    """
    tracker = LiveStorages(device)
    tracker.watch(held())
    with tracker:
        action()
    return tracker.peak


def peak_allocated_bytes(
    action: Callable[[], object], held: Callable[[], Iterable[Tensor]], device: torch.device
) -> int:
    """The same by CUDA's caching allocator, which sees workspaces too.

    Other networks may lie on the device: what was allocated before is replaced by the tensors that the action holds.
    """
    storages = (tensor.untyped_storage() for tensor in held() if tensor.is_cuda)
    sizes = {storage.data_ptr(): storage.nbytes() for storage in storages}
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    action()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before + sum(sizes.values())
