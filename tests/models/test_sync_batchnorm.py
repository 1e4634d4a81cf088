"""BatchNorm over the whole batch: in one process it is torch's; across processes see test_distributed.py."""

from __future__ import annotations

import copy

import pytest
import torch
from timm.layers import BatchNormAct2d, DropPath, EvoNorm2dB0
from torch import nn
from worlds import process

from noisybench.models.sync_batchnorm import GlobalBatchNorm, GlobalSum, of_each_process, synchronize_batchnorm

ONE = process()


def double(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


NORMS = {
    "1d": (lambda: nn.BatchNorm1d(3), (6, 3)),
    "2d": (lambda: nn.BatchNorm2d(3, eps=1e-3, momentum=0.3), (4, 3, 2, 5)),
    "cumulative": (lambda: nn.BatchNorm2d(3, momentum=None), (4, 3, 2, 5)),
    "bare": (lambda: nn.BatchNorm2d(3, affine=False, track_running_stats=False), (4, 3, 2, 5)),
    "act": (lambda: BatchNormAct2d(3, act_layer=nn.SiLU), (4, 3, 2, 5)),
}


@pytest.mark.parametrize("kind", NORMS)
def test_one_process_has_torchs_batchnorm(kind):
    make, shape = NORMS[kind]
    torchs = make().double()
    for parameter in torchs.parameters():
        nn.init.normal_(parameter)
    own = GlobalBatchNorm(copy.deepcopy(torchs), ONE)
    assert own.state_dict().keys() == torchs.state_dict().keys()
    for number in range(3):
        x = 3 + 2 * double(*shape, seed=number)
        inputs = [x.clone().requires_grad_() for _ in range(2)]
        outputs = [norm(each) for norm, each in zip((torchs, own), inputs, strict=True)]
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-12, atol=1e-12)
        for output in outputs:
            output.square().mul(double(*shape, seed=9)).sum().backward()
        torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=1e-10, atol=1e-10)
    for (name, buffer), mine in zip(torchs.named_buffers(), own.buffers(), strict=True):
        torch.testing.assert_close(mine, buffer, msg=name)
    torch.testing.assert_close(own.eval()(x), torchs.eval()(x), rtol=1e-12, atol=1e-12)


class Doubled:
    """A world of two processes with equal rows: a sum over them is twice a process's own value."""

    size = 2

    def sum(self, tensor):
        return 2 * tensor


def test_the_sum_has_all_derivatives():
    def through(x):
        return GlobalSum.apply(x**3, 4, Doubled())

    x = double(5).requires_grad_()
    assert torch.equal(through(x), 2 * x**3)
    assert torch.autograd.gradcheck(through, x, check_forward_ad=True)
    # Second derivatives in reverse mode and in forward-over-reverse.
    assert torch.autograd.gradgradcheck(through, x, check_fwd_over_rev=True)


def test_a_batch_of_one_value_is_refused():
    with pytest.raises(ValueError, match="more than one value per channel"):
        GlobalBatchNorm(nn.BatchNorm1d(3), ONE)(torch.zeros(1, 3))


def test_one_process_keeps_its_batchnorm():
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), BatchNormAct2d(3))
    assert synchronize_batchnorm(network, ONE) is network and isinstance(network[1], nn.BatchNorm2d)
    replaced = synchronize_batchnorm(network, Doubled())
    assert [type(module) for module in replaced][1:] == [GlobalBatchNorm, GlobalBatchNorm]


@pytest.mark.parametrize(
    "part, found",
    [
        (nn.Dropout(0.1), "1 (Dropout)"),
        (nn.Dropout(0.0), None),
        (DropPath(0.2), "1 (DropPath)"),
        (DropPath(0.0), None),
        (EvoNorm2dB0(3), "1 (EvoNorm2dB0)"),
        (nn.InstanceNorm2d(3), None),
        (nn.BatchNorm2d(3), None),
    ],
)
def test_what_cannot_be_one_over_processes_is_found(part, found):
    network = synchronize_batchnorm(nn.Sequential(nn.BatchNorm2d(3), part), Doubled())
    assert of_each_process(network) == found
