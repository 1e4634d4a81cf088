"""Outputs of a network's linear operations, kept so that a later pass at the same weights does not compute them again.

Convolutions and linear layers are nearly all of a pass's work, and their outputs are kept for the backward pass anyway.
A second pass over the same batch at the same weights only needs what lies between them: normalisation, activations,
pooling. So the tangent pass is spared a third of its work, and the first pass's graph can go before the meta batch's is
built: it is made again from these outputs when the base step needs it.

An output that was changed in place afterwards (an in-place activation right after a layer) is computed anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

CONVOLUTIONS = {torch.conv1d: 1, torch.conv2d: 2, torch.conv3d: 3}  # with their spatial dimensions


@dataclass(frozen=True)
class Output:
    """A kept output, and torch's count of changes in place when it was kept."""

    tensor: Tensor
    version: int

    @property
    def intact(self) -> bool:
        return self.tensor._version == self.version


@dataclass(frozen=True)
class LinearCall:
    """A call of a convolution or of a linear layer: linear in the input, and linear in weight and bias together.

    Attributes:
        operation: ``F.linear`` or a convolution.
        options: the convolution's stride, padding, dilation and groups.
    """

    operation: Callable[..., Tensor]
    input: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    options: dict[str, Any]

    @classmethod
    def parse(cls, operation: Callable[..., Tensor], arguments: tuple[Any, ...], options: dict[str, Any]) -> LinearCall:
        names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = {**dict(zip(names, arguments, strict=False)), **options}
        return cls(operation, given.pop("input"), given.pop("weight"), given.pop("bias", None), given)

    def without_tensors(self) -> LinearCall:
        """The operation and its options alone, for a graph that saves the tensors itself."""
        return LinearCall(self.operation, None, None, None, self.options)

    def at(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same operation on other tensors."""
        return self.operation(input, weight, bias, **self.options)

    def gradients(
        self, output_gradient: Tensor, input: Tensor, weight: Tensor, wanted: list[bool]
    ) -> list[Tensor | None]:
        """Gradients for input, weight and bias, None where not wanted."""
        bias_sizes = [weight.shape[0]]
        if self.operation is F.linear:
            rows = output_gradient.reshape(-1, weight.shape[0])
            return [
                output_gradient @ weight if wanted[0] else None,
                rows.T @ input.reshape(-1, weight.shape[1]) if wanted[1] else None,
                rows.sum(0) if wanted[2] else None,
            ]
        dimensions = CONVOLUTIONS[self.operation]

        def each(name: str, default: int) -> list[int]:
            value = self.options.get(name, default)
            return list(value) if isinstance(value, tuple | list) else [value] * dimensions

        return torch.ops.aten.convolution_backward(
            output_gradient,
            input,
            weight,
            bias_sizes,
            each("stride", 1),
            each("padding", 0),
            each("dilation", 1),
            False,  # not transposed
            [0] * dimensions,
            self.options.get("groups", 1),
            wanted,
        )


class Recorder(TorchFunctionMode):
    """Keeps the outputs of linear operations, in the order of their calls."""

    def __init__(self):
        super().__init__()
        self.outputs: list[Output] = []

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        result = function(*arguments, **(options or {}))
        if function is F.linear or function in CONVOLUTIONS:
            kept = result.detach()
            self.outputs.append(Output(kept, kept._version))
        return result


class _Replay(TorchFunctionMode):
    """Hands kept outputs out again, in the order of the calls of a pass that makes the same ones."""

    def __init__(self, outputs: list[Output]):
        super().__init__()
        self._outputs = iter(outputs)

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        if function is F.linear or function in CONVOLUTIONS:
            output = next(self._outputs)
            call = LinearCall.parse(function, arguments, options or {})
            if output.intact and not isinstance(call.options.get("padding"), str):
                return self.known(call, output.tensor)
        return function(*arguments, **(options or {}))

    def known(self, call: LinearCall, output: Tensor) -> Tensor:
        raise NotImplementedError


class TangentReplay(_Replay):
    """For a forward-mode pass: computes tangents alone; BatchNorm's in two fused operations."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        if function is F.batch_norm:
            return _batch_norm(*arguments, **(options or {}))
        return super().__torch_function__(function, types, arguments, options)

    def known(self, call: LinearCall, output: Tensor) -> Tensor:
        x, x_dot = forward_ad.unpack_dual(call.input)
        weight, weight_dot = forward_ad.unpack_dual(call.weight)
        bias_dot = None if call.bias is None else forward_ad.unpack_dual(call.bias).tangent
        if bias_dot is not None and weight_dot is None:
            weight_dot = torch.zeros_like(weight)
        tangents = []
        if weight_dot is not None:
            tangents.append(call.at(x, weight_dot, bias_dot))
        if x_dot is not None:
            tangents.append(call.at(x_dot, weight, None))
        if not tangents:
            return output
        tangent = tangents[0] if len(tangents) == 1 else tangents[0].add_(tangents[1])
        return forward_ad.make_dual(output, tangent.to(output.dtype))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``F.batch_norm`` of dual tensors.

    In train mode, with x̂ = (x − μ)/σ, its Jacobian for the input is symmetric in each channel: along ẋ it is what the
    backward pass computes for the gradient ẋ. Besides, ẏ has the terms ẇ·x̂ and ḃ. torch's own formula for this takes
    some twenty elementwise passes.
    """
    x, x_dot = forward_ad.unpack_dual(input)
    if not training or x_dot is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    weight, weight_dot = (None, None) if weight is None else forward_ad.unpack_dual(weight)
    bias, bias_dot = (None, None) if bias is None else forward_ad.unpack_dual(bias)
    y, mean, inverse_std = torch.native_batch_norm(x, weight, bias, running_mean, running_var, True, momentum, eps)
    y_dot = torch.ops.aten.native_batch_norm_backward(
        x_dot, x, weight, running_mean, running_var, mean, inverse_std, True, eps, [True, False, False]
    )[0]
    shape = [1, -1, *[1] * (x.dim() - 2)]
    if weight_dot is not None:
        slope = inverse_std * weight_dot
        y_dot.addcmul_(x, slope.view(shape).to(x.dtype))
        shift = -mean * slope if bias_dot is None else bias_dot - mean * slope
        y_dot.add_(shift.view(shape).to(x.dtype))
    elif bias_dot is not None:
        y_dot.add_(bias_dot.view(shape).to(x.dtype))
    return forward_ad.make_dual(y, y_dot)


class GraphReplay(_Replay):
    """For a pass with a graph: outputs come from the record, and the graph's backward pass is the usual one."""

    def known(self, call: LinearCall, output: Tensor) -> Tensor:
        return _KnownOutput.apply(call.input, call.weight, call.bias, call, output)


class _KnownOutput(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias, call: LinearCall, output: Tensor) -> Tensor:
        ctx.save_for_backward(input, weight)
        ctx.call = call.without_tensors()
        ctx.bias_dtype = None if bias is None else bias.dtype
        return output.view_as(output)

    @staticmethod
    @once_differentiable
    def backward(ctx, output_gradient):
        input, weight = ctx.saved_tensors
        # Under autocast the operation ran in the output's dtype, whatever its arguments are kept in.
        dtype = output_gradient.dtype
        wanted = list(ctx.needs_input_grad[:3])
        found = ctx.call.gradients(output_gradient, input.to(dtype), weight.to(dtype), wanted)
        dtypes = (input.dtype, weight.dtype, ctx.bias_dtype)
        found = [None if g is None else g.to(kept) for g, kept in zip(found, dtypes, strict=True)]
        return *found, None, None
