"""Convolutions and BatchNorm whose gradients can be differentiated again at the cost of such operations.

torch differentiates a convolution's backward pass by convolutions with kernels as large as the image, and BatchNorm's
by some forty elementwise passes: several times what the arithmetic asks for. The derivatives are written out here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.overrides import TorchFunctionMode

from noisybench.meta.replay import CONVOLUTIONS, LinearCall


class TwiceDifferentiable(TorchFunctionMode):
    """Inside, convolutions and train-mode BatchNorm build graphs of this kind. Reverse mode only."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        if function is F.batch_norm:
            return _batch_norm(*arguments, **(options or {}))
        if function in CONVOLUTIONS:
            call = LinearCall.parse(function, arguments, options or {})
            if not isinstance(call.options.get("padding"), str):
                return _Convolution.apply(call.input, call.weight, call.bias, call.without_tensors())
        return function(*arguments, **(options or {}))


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input: Tensor, weight: Tensor, bias: Tensor | None, call: LinearCall) -> Tensor:
        output = call.at(input, weight, bias)
        ctx.save_for_backward(input, weight)
        ctx.call, ctx.bias_dtype = call, None if bias is None else bias.dtype
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor):
        input, weight = ctx.saved_tensors
        # Under autocast the operation ran in the output's dtype, whatever its arguments are kept in.
        of_input, of_weight = _Gradients.apply(
            gradient, input.to(gradient.dtype), weight.to(gradient.dtype), ctx.call, ctx.needs_input_grad[0]
        )
        of_bias = None
        if ctx.bias_dtype is not None and ctx.needs_input_grad[2]:
            of_bias = gradient.sum([0, *range(2, gradient.dim())]).to(ctx.bias_dtype)
        of_input = None if of_input is None else of_input.to(input.dtype)
        return of_input, of_weight.to(weight.dtype), of_bias, None


class _Gradients(torch.autograd.Function):
    """The gradients for a convolution's input and weight, as a function of output gradient g, input x and weight w.

    With cotangents a of the input's gradient and b of the weight's: for g it is a * w + x * b; for x, the input's
    gradient that g has with b as weight; for w, the weight's gradient that g has with a as input.
    """

    @staticmethod
    def forward(ctx, gradient: Tensor, input: Tensor, weight: Tensor, call: LinearCall, of_input: bool):
        ctx.save_for_backward(gradient, input, weight)
        ctx.set_materialize_grads(False)
        ctx.call = call
        return tuple(call.gradients(gradient, input, weight, [of_input, True, False])[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx, a: Tensor | None, b: Tensor | None):
        gradient, input, weight = ctx.saved_tensors
        call, (of_gradient, of_input, of_weight) = ctx.call, ctx.needs_input_grad[:3]
        found: list[Tensor | None] = [None, None, None]
        if a is not None:
            if of_gradient:
                found[0] = call.at(a, weight, None)
            if of_weight:
                found[2] = call.gradients(gradient, a, weight, [False, True, False])[1]
        if b is not None:
            if of_gradient:
                along = call.at(input, b, None)
                found[0] = along if found[0] is None else found[0].add_(along)
            if of_input:
                found[1] = call.gradients(gradient, input, b, [True, False, False])[0]
        return *found, None, None


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
    if not training or weight is None or bias is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    return _BatchNorm.apply(input, weight, bias, running_mean, running_var, momentum, eps)


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, weight, bias, running_mean, running_var, momentum: float, eps: float) -> Tensor:
        output, mean, inverse_std = torch.native_batch_norm(
            input, weight, bias, running_mean, running_var, True, momentum, eps
        )
        ctx.save_for_backward(input, weight, mean, inverse_std)
        ctx.eps = eps
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor):
        input, weight, mean, inverse_std = ctx.saved_tensors
        return *_BatchNormGradients.apply(gradient, input, weight, mean, inverse_std, ctx.eps), *[None] * 4


class _BatchNormGradients(torch.autograd.Function):
    """The gradients for input, weight and bias, as a function of output gradient g, input x and weight w.

    Per channel, with means over its n values, x̂ = (x − μ)s and k = w·s:

        input: k(g − ⟨g⟩ − x̂⟨gx̂⟩),   weight: n⟨gx̂⟩,   bias: n⟨g⟩

    With cotangents a, b, c of the three, Q = ⟨ag⟩ − ⟨a⟩⟨g⟩ − ⟨ax̂⟩⟨gx̂⟩ and h = −k(g⟨ax̂⟩ + a⟨gx̂⟩) + b·g:

        for g: k(a − ⟨a⟩ − x̂⟨ax̂⟩) + b·x̂ + c,   for x: s(h − ⟨h⟩ − x̂⟨hx̂⟩ − k·Q·x̂),   for w: s·n·Q
    """

    @staticmethod
    def forward(ctx, gradient, input, weight, mean, inverse_std, eps: float):
        found = torch.ops.aten.native_batch_norm_backward(
            gradient, input, weight, None, None, mean, inverse_std, True, eps, [True, True, True]
        )
        ctx.save_for_backward(gradient, input, weight, mean, inverse_std, found[1], found[2])
        ctx.eps = eps
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx, a: Tensor, b: Tensor, c: Tensor):
        g, x, w, mean, s, sum_gx, sum_g = ctx.saved_tensors
        n = x.numel() / x.shape[1]
        shape = [1, -1, *[1] * (x.dim() - 2)]

        def wide(channels: Tensor) -> Tensor:
            return channels.to(x.dtype).view(shape)

        # The symmetric part of the derivative for g is the backward pass itself, which gives sums with a as well.
        for_g, sum_ax, sum_a = torch.ops.aten.native_batch_norm_backward(
            a, x, w, None, None, mean, s, True, ctx.eps, [True, True, True]
        )
        ag = (a * g).sum([0, *range(2, x.dim())], dtype=s.dtype) / n
        ax, gx, a_, g_ = sum_ax / n, sum_gx / n, sum_a / n, sum_g / n
        k = w * s
        q = ag - a_ * g_ - ax * gx
        for_g.addcmul_(x, wide(b * s)).add_(wide(c - b * s * mean))
        of_g, of_a = b - k * ax, -k * gx  # h is of_g·g + of_a·a
        of_x = -s * (of_g * gx + of_a * ax + k * q)  # the coefficient of x̂
        constant = -s * (of_g * g_ + of_a * a_) - of_x * s * mean
        for_x = torch.addcmul(wide(constant), g, wide(s * of_g)).addcmul_(a, wide(s * of_a)).addcmul_(x, wide(of_x * s))
        return for_g, for_x, s * n * q, None, None, None
