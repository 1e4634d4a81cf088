"""Convolutions and BatchNorm that can be differentiated twice, against differences and against torch."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F

from noisybench.meta.second_order import TwiceDifferentiable


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "groups": 2}, {"dilation": (2, 1), "bias": None}])
def test_second_derivatives_of_convolutions_against_differences(options):
    drawn = torch.Generator().manual_seed(0)
    images = torch.randn(2, 4, 5, 6, dtype=torch.float64, generator=drawn, requires_grad=True)
    channels = 4 // options.get("groups", 1)
    weight = torch.randn(6, channels, 3, 2, dtype=torch.float64, generator=drawn, requires_grad=True)
    bias = torch.randn(6, dtype=torch.float64, generator=drawn, requires_grad=True)
    options = {"bias": bias, **options}

    def convolution(images, weight, bias):
        with TwiceDifferentiable():
            return F.conv2d(images, weight, **{**options, "bias": bias if options["bias"] is not None else None})

    assert type(convolution(images, weight, bias).grad_fn).__name__ == "_ConvolutionBackward"
    torch.testing.assert_close(convolution(images, weight, bias), F.conv2d(images, weight, **options))
    assert torch.autograd.gradcheck(convolution, (images, weight, bias))
    assert torch.autograd.gradgradcheck(convolution, (images, weight, bias))


@pytest.mark.parametrize("shape", [(5, 3), (3, 2, 4), (2, 3, 2, 3)])
def test_second_derivatives_of_batchnorm_against_differences(shape):
    drawn = torch.Generator().manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, generator=drawn, requires_grad=True)
    weight, bias = (torch.randn(shape[1], dtype=torch.float64, generator=drawn, requires_grad=True) for _ in range(2))

    def normalised(x, weight, bias):
        with TwiceDifferentiable():
            return F.batch_norm(x, None, None, weight, bias, training=True, eps=0.1)

    assert type(normalised(x, weight, bias).grad_fn).__name__ == "_BatchNormBackward"
    torch.testing.assert_close(
        normalised(x, weight, bias), F.batch_norm(x, None, None, weight, bias, training=True, eps=0.1)
    )
    assert torch.autograd.gradcheck(normalised, (x, weight, bias))
    assert torch.autograd.gradgradcheck(normalised, (x, weight, bias))


def test_a_graph_that_is_differentiated_twice_moves_running_statistics_as_torch_does():
    norm, images = torch.nn.BatchNorm2d(3), torch.randn(4, 3, 2, 2)
    other = copy.deepcopy(norm)
    with TwiceDifferentiable():
        found = norm(images)
    torch.testing.assert_close(found, other(images))
    assert torch.equal(norm.running_mean, other.running_mean) and torch.equal(norm.running_var, other.running_var)
