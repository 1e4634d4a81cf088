"""What a forward pass computed, kept so that its tangent need not compute it again.

A Jacobian-vector product in forward mode runs the whole pass a second time beside its tangent: three forward passes of
work where two are the tangent's own. Convolutions and linear layers are nearly all of that work, and the autograd graph
of the first pass holds most of their results anyway. So the first pass is recorded, and the tangent's pass takes the
results of these layers from it. Everything else is computed again, which is cheap, and which lets the graph drop those
values while another pass needs the memory: the tangent's pass puts them back.

Layers that are not known here go through torch's forward mode unchanged. Values are the same bits as without recording.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

# Linear in (input, weight, bias), which are their first three arguments.
PRODUCTS = frozenset({torch.conv1d, torch.conv2d, torch.conv3d, F.linear})

Key = tuple[object, int]  # a function, and which of its calls in the pass


@dataclass
class _Saved:
    """A tensor that the graph saved for its backward pass; ``value`` is None while it is dropped."""

    value: Tensor | None
    version: int
    shape: torch.Size


@dataclass(frozen=True)
class _Product:
    """The result of a convolution or linear layer."""

    value: Tensor
    version: int


@dataclass(frozen=True)
class _Statistics:
    """A batch's mean and inverse standard deviation in one BatchNorm layer, by channel."""

    mean: Tensor
    inverse_std: Tensor


@dataclass
class Primals:
    """The record of one forward pass, made inside :meth:`recorded`."""

    _products: dict[Key, _Product] = field(default_factory=dict)
    _statistics: dict[Key, _Statistics] = field(default_factory=dict)
    _saved: dict[Key, list[_Saved]] = field(default_factory=dict)

    @contextlib.contextmanager
    def recorded(self) -> Iterator[None]:
        """Record the one pass made inside."""
        recorder = _Recorder(self)
        with saved_tensors_hooks(recorder.pack, _unpack), recorder:
            yield

    def drop(self) -> None:
        """Let go of what the pass of the tangent computes again. Until then the graph cannot be used."""
        for saved in self._each_saved():
            saved.value = None

    @contextlib.contextmanager
    def replayed(self) -> Iterator[None]:
        """Take results from the record in the one pass made inside, on dual numbers, and put back what was dropped.

        Raises:
            RuntimeError: the pass was not the recorded one, so that something stays dropped.
        """
        with _Replay(self):
            yield
        if any(saved.value is None for saved in self._each_saved()):
            raise RuntimeError("the model computed something else when it ran again on the same batch and weights")

    def _each_saved(self) -> Iterator[_Saved]:
        for group in self._saved.values():
            yield from group


def _unpack(saved: _Saved) -> Tensor:
    if saved.value is None:
        raise RuntimeError("this graph's values are dropped until the tangent's pass puts them back")
    if saved.value._version != saved.version:
        raise RuntimeError("a tensor that the graph saved for its backward pass was changed in place")
    return saved.value


class _Counting(TorchFunctionMode):
    """Sees every torch function of a pass with its key."""

    def __init__(self, primals: Primals):
        super().__init__()
        self.primals = primals
        self._calls: Counter = Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self._calls[function] += 1
        return self.call((function, self._calls[function]), args, kwargs or {})


@dataclass(frozen=True)
class _Made:
    """The result of a call, as it was when the call returned."""

    key: Key
    layout: Tensor  # of the meta device
    storage: StorageWeakRef
    version: int

    def is_whole(self, saved: _Saved) -> bool:
        """Whether a tensor at the same address is this result, perhaps reshaped, and not changed since."""
        value, layout = saved.value, self.layout
        same = value.shape == layout.shape and value.stride() == layout.stride()
        reshaped = value.numel() == layout.numel() and value.is_contiguous() and layout.is_contiguous()
        return self.version == saved.version and value.dtype == layout.dtype and (same or reshaped)


class _Recorder(_Counting):
    """Keeps products and statistics, and finds out which call made each tensor that the graph saves."""

    def __init__(self, primals: Primals):
        super().__init__(primals)
        self._made: dict[int, _Made] = {}  # by address
        self._pending: list[_Saved] = []

    def pack(self, tensor: Tensor) -> _Saved:
        saved = _Saved(tensor.detach(), tensor._version, tensor.shape)
        made = self._made.get(tensor.data_ptr())
        if made is not None and not made.storage.expired() and made.is_whole(saved):
            self._belongs(saved, made.key)
        else:
            self._pending.append(saved)  # perhaps a result of the call that is running
        return saved

    def call(self, key: Key, args, kwargs):
        self._pending.clear()
        result = key[0](*args, **kwargs)
        if type(result) is not Tensor or not result.is_floating_point() or not result.requires_grad:
            return result
        if key[0] in PRODUCTS:
            self.primals._products[key] = _Product(result.detach(), result._version)
            return result
        if key[0] is F.batch_norm:
            self._keep_statistics(key, result)
        made = _Made(key, result.detach().to("meta"), StorageWeakRef(result.untyped_storage()), result._version)
        self._made[result.data_ptr()] = made
        for saved in self._pending:
            if saved.value.data_ptr() == result.data_ptr() and made.is_whole(saved):
                self._belongs(saved, key)
        return result

    def _belongs(self, saved: _Saved, key: Key) -> None:
        self.primals._saved.setdefault(key, []).append(saved)

    def _keep_statistics(self, key: Key, result: Tensor) -> None:
        node = result.grad_fn
        mean, inverse_std = (getattr(node, name, None) for name in ("_saved_result1", "_saved_result2"))
        if mean is not None and mean.numel():
            self.primals._statistics[key] = _Statistics(mean, inverse_std)


class _Replay(_Counting):
    """Runs the recorded pass again on dual numbers."""

    def call(self, key: Key, args, kwargs):
        function = key[0]
        if function in PRODUCTS:
            result = self._product(key, *args, **kwargs)
        elif function is F.batch_norm and key in self.primals._statistics:
            result = self._batch_norm(key, *args, **kwargs)
        else:
            result = function(*args, **kwargs)
        for saved in self.primals._saved.get(key, ()):
            if saved.value is None:
                primal = forward_ad.unpack_dual(result).primal.detach()
                saved.value, saved.version = primal.reshape(saved.shape), primal._version
        return result

    def _product(self, key: Key, input, weight, bias=None, *others, **kwargs):
        function = key[0]
        recorded = self.primals._products.get(key)
        x, x_dot = forward_ad.unpack_dual(input)
        w, w_dot = forward_ad.unpack_dual(weight)
        b, b_dot = (None, None) if bias is None else forward_ad.unpack_dual(bias)
        if recorded is None or recorded.value._version != recorded.version or w_dot is None:
            return function(input, weight, bias, *others, **kwargs)
        tangent = function(x, w_dot, b_dot, *others, **kwargs)
        if x_dot is not None:
            tangent += function(x_dot, w, None, *others, **kwargs)
        return forward_ad.make_dual(recorded.value, tangent)

    def _batch_norm(
        self, key: Key, input, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
    ):
        """The tangent in the input is the layer's backward pass applied to it: that Jacobian is symmetric."""
        x, x_dot = forward_ad.unpack_dual(input)
        (w, w_dot), (b, b_dot) = (
            (None, None) if part is None else forward_ad.unpack_dual(part) for part in (weight, bias)
        )
        found = self.primals._statistics[key]
        primal = F.batch_norm(x, running_mean, running_var, w, b, training, momentum, eps)
        tangent = torch.zeros_like(x)
        if x_dot is not None:
            tangent = torch.ops.aten.native_batch_norm_backward(
                x_dot, x, w, None, None, found.mean, found.inverse_std, True, eps, [True, False, False]
            )[0]
        if w_dot is not None:
            shape = [1, -1] + [1] * (x.ndim - 2)
            scale = w_dot * found.inverse_std
            shift = -scale * found.mean if b_dot is None else b_dot - scale * found.mean
            tangent += torch.addcmul(shift.view(shape), x, scale.view(shape))
        elif b_dot is not None:
            tangent += b_dot.view([1, -1] + [1] * (x.ndim - 2))
        return forward_ad.make_dual(primal, tangent)
