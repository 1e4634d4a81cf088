"""BatchNorm over the global batch, from primitive operations, so that every pass of a bilevel method is exact.

torch's own SyncBatchNorm runs on GPUs only and has no forward-mode derivative.
"""

from __future__ import annotations

import torch
from timm.layers import DropPath
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from noisybench.parallel.world import World


class GlobalSum(torch.autograd.Function):
    """The sum of a tensor over processes, differentiable any number of times, in reverse and in forward mode.

    Each process differentiates the mean over its own rows, and gradients are averaged later with the processes' shares
    of the rows as weights. So what a process gets back is the sum of all processes' gradients, each times its own
    number of rows, divided by this process's number of rows.
    """

    @staticmethod
    def forward(values: Tensor, rows: int, world: World) -> Tensor:
        return world.sum(values)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, ctx.rows, ctx.world = inputs

    @staticmethod
    def backward(ctx, gradient: Tensor):
        # Through this very function: so the backward pass has derivatives of its own, in both modes.
        return GlobalSum.apply(gradient * ctx.rows, ctx.rows, ctx.world) / ctx.rows, None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_: None) -> Tensor:
        return ctx.world.sum(tangent)


class GlobalBatchNorm(nn.Module):
    """What a BatchNorm of one process would do with the whole batch: parameters, buffers and modes are its own.

    For N×C×… inputs. Statistics are in float32 at least. In eval mode nothing is exchanged.

    Args:
        like: the BatchNorm to take the place of; its parameters and buffers are taken over, not copied.
        world: the processes of the run.
    """

    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(self, like: _BatchNorm, world: World):
        super().__init__()
        self.eps, self.momentum, self.num_features = like.eps, like.momentum, like.num_features
        self.affine, self.track_running_stats = like.affine, like.track_running_stats
        self.register_parameter("weight", like.weight)
        self.register_parameter("bias", like.bias)
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, getattr(like, name))
        # What timm's BatchNorm does beside normalising.
        self.drop, self.act = getattr(like, "drop", None), getattr(like, "act", None)
        self.training = like.training
        self._world = world

    def forward(self, x: Tensor) -> Tensor:
        if self.training or self.running_mean is None or self.running_var is None:
            mean, var = self._batch_statistics(x)
        else:
            mean, var = self.running_mean, self.running_var
        shape = [1, -1, *[1] * (x.dim() - 2)]
        wide = _wide(x)
        y = (wide - mean.to(wide.dtype).view(shape)) * (var.to(wide.dtype) + self.eps).rsqrt().view(shape)
        if self.weight is not None and self.bias is not None:
            y = y * self.weight.to(wide.dtype).view(shape) + self.bias.to(wide.dtype).view(shape)
        y = y.to(x.dtype)
        if self.drop is not None:
            y = self.drop(y)
        return y if self.act is None else self.act(y)

    def _batch_statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of each channel (C) over the global batch; moves the running statistics."""
        rows, wide = len(x), _wide(x)
        dims = [0, *range(2, x.dim())]
        count = wide.new_tensor([x.numel() / x.shape[1]])
        total = self._global_sum(torch.cat([wide.sum(dims), count]), rows)
        number = total[-1].detach()
        if number <= 1:
            raise ValueError("BatchNorm needs more than one value per channel in training")
        mean = total[:-1] / number
        shape = [1, -1, *[1] * (x.dim() - 2)]
        squares = (wide - mean.view(shape)).square().sum(dims)
        var = self._global_sum(squares, rows) / number
        if self.training:
            self._move_running(mean.detach(), (var * (number / (number - 1))).detach())
        return mean, var

    def _global_sum(self, values: Tensor, rows: int) -> Tensor:
        # Of a batch that all compute alone nothing is exchanged; a Function may not give its input back.
        return values if self._world.alone else GlobalSum.apply(values, rows, self._world)

    @torch.no_grad()
    def _move_running(self, mean: Tensor, unbiased_var: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, value in ((self.running_mean, mean), (self.running_var, unbiased_var)):
            running.mul_(1 - factor).add_(value.to(running.dtype), alpha=factor)


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def synchronize_batchnorm(network: nn.Module, world: World) -> nn.Module:
    """Put :class:`GlobalBatchNorm` in the place of every BatchNorm, in place. With one process nothing is changed."""
    if world.size == 1:
        return network
    if isinstance(network, _BatchNorm):
        return GlobalBatchNorm(network, world)
    for name, child in network.named_children():
        setattr(network, name, synchronize_batchnorm(child, world))
    return network


def has_batchnorm(network: nn.Module) -> bool:
    """Whether a network normalises over the batch."""
    return any(isinstance(module, _BatchNorm | GlobalBatchNorm) for module in network.modules())


def of_each_process(network: nn.Module) -> str | None:
    """The first part of a network whose training passes are another thing on each process; None if all are as on one.

    What is random in a pass is drawn by each process; what keeps running statistics without being a BatchNorm takes
    them over its own rows.
    """
    for name, module in network.named_modules():
        drops = isinstance(module, _DropoutNd) and module.p > 0
        drops = drops or (isinstance(module, DropPath) and module.drop_prob > 0)
        averages = not isinstance(module, GlobalBatchNorm) and {"running_mean", "running_var"} & module._buffers.keys()
        if drops or (averages and any(module._buffers[each] is not None for each in averages)):
            return f"{name or 'network'} ({type(module).__name__})"
    return None
