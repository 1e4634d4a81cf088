"""Kept outputs change no derivative."""

from __future__ import annotations

import pytest
import torch

from noisybench.meta import logits_again, logits_along, noisy_forward
from noisybench.models import NetworkSpec, create_network


@pytest.mark.parametrize(
    ("name", "side", "intact"),
    [
        ("noisybench_cnn8", 32, 8),
        ("noisybench_resnet20", 32, 22),
        ("noisybench_mlp", 8, 1),  # in-place activations follow its other two layers: they are computed anew
        ("mobilenetv3_small_100", 32, 44),
        ("convnext_atto", 32, 41),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_kept_outputs_change_no_derivative(name, side, intact, training):
    """The tangent and the gradient through kept outputs, against torch's own forward and reverse mode."""
    model = create_network(NetworkSpec(name, num_classes=5, channels=3, image_size=side), seed=0).double()
    model.train(training)
    torch.manual_seed(0)
    images = torch.randn(4, 3, side, side, dtype=torch.float64)
    plain = noisy_forward(model, images, update_buffers=False)
    kept = noisy_forward(model, images, update_buffers=False, keep_outputs=True)
    assert sum(output.intact for output in kept.outputs) == intact
    direction = {name: torch.randn_like(weight) for name, weight in plain.weights.items()}
    expected, found = (logits_along(model, forward, direction) for forward in (plain, kept))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12 * float(expected.abs().max()))
    again = logits_again(model, kept)
    torch.testing.assert_close(again, plain.logits, rtol=1e-12, atol=1e-12)
    cotangent = torch.randn_like(again)
    weights = list(model.parameters())
    for one, other in zip(
        *(torch.autograd.grad(logits, weights, cotangent) for logits in (plain.logits, again)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12 * float(one.abs().max() + 1))


def test_kept_outputs_serve_strided_grouped_convolutions_and_one_dimension():
    layers = (
        torch.nn.Conv1d(4, 8, 3, stride=2, padding=1, dilation=2, groups=2),
        torch.nn.Conv1d(8, 6, 3, padding="same"),  # a padding by name is left to torch
        torch.nn.BatchNorm1d(6, affine=False),
        torch.nn.Flatten(),
        torch.nn.LazyLinear(3, bias=False),
    )
    model = torch.nn.Sequential(*layers).double()
    torch.manual_seed(0)
    images = torch.randn(5, 4, 9, dtype=torch.float64)
    model(images)
    plain = noisy_forward(model, images)
    kept = noisy_forward(model, images, keep_outputs=True)
    direction = {name: torch.randn_like(weight) for name, weight in plain.weights.items()}
    expected, found = (logits_along(model, forward, direction) for forward in (plain, kept))
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-13)
    again, weights = logits_again(model, kept), list(model.parameters())
    ones = torch.ones_like(again)
    for one, other in zip(
        torch.autograd.grad(plain.logits.square() / 2, weights, ones),
        torch.autograd.grad(again.square() / 2, weights, ones),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_an_output_changed_in_place_is_not_trusted():
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(inplace=True), torch.nn.Linear(4, 2)).double()
    images = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kept = noisy_forward(model, images, keep_outputs=True)
    assert [output.intact for output in kept.outputs] == [False, True]
    direction = {name: torch.ones_like(weight) for name, weight in kept.weights.items()}
    hidden = images @ model[0].weight.T + model[0].bias
    active = (hidden > 0).double()
    hidden_dot = active * (images.sum(1, keepdim=True) + 1)
    expected = hidden_dot @ model[2].weight.T + (active * hidden).sum(1, keepdim=True) + 1
    torch.testing.assert_close(logits_along(model, kept, direction), expected.detach(), rtol=1e-12, atol=1e-12)
