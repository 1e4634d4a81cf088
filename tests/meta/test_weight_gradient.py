"""The gradient of example weights against double backward."""

from __future__ import annotations

import pytest
import torch
from double_backward import (
    CLASSES,
    NOISY,
    SIDE,
    assert_untouched,
    call,
    network,
    problem,
    relative,
    snapshot,
)
from torch import nn

from noisybench.meta import (
    ENGINES,
    example_weight_meta_gradient,
    plain_attention,
)


def example_weight_oracle(model, images, labels, meta_images, meta_labels, inner_lr, weights):
    parameters = dict(model.named_parameters())
    weights = weights.clone().requires_grad_()
    with plain_attention():
        log_p = call(model, parameters, images).log_softmax(1)
        inner = -(weights * log_p[torch.arange(len(labels)), labels]).sum()
        gradients = torch.autograd.grad(inner, list(parameters.values()), create_graph=True)
        ahead = {n: w - inner_lr * g for (n, w), g in zip(parameters.items(), gradients, strict=True)}
        log_p = call(model, ahead, meta_images).log_softmax(1)
        return torch.autograd.grad(-log_p[torch.arange(len(meta_labels)), meta_labels].mean(), weights)[0]


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("name", ["noisybench_resnet20", "vit"])
def test_example_weight_gradient_is_the_double_backward(name, weighted):
    model, arguments = network(name), problem()
    weights = torch.linspace(0.0, 0.5, NOISY, dtype=torch.float64)
    expected = example_weight_oracle(model, *arguments, 0.5, weights if weighted else torch.zeros_like(weights))
    for engine in ("jvp", "double-backward"):
        found = example_weight_meta_gradient(
            model, *arguments, inner_lr=0.5, weights=weights if weighted else None, engine=engine
        )
        assert found.shape == (NOISY,)
        assert relative(found, expected) < 1e-10


def test_example_weight_approximations():
    torch.manual_seed(5)
    linear = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES)).double()
    smooth = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double()
    arguments, weights = problem(), torch.full((NOISY,), 1 / NOISY, dtype=torch.float64)
    for model, engine, bound in ((linear, "head", 1e-12), (smooth, "finite-difference", 1e-4)):
        expected = example_weight_oracle(model, *arguments, 0.05, weights)
        found = example_weight_meta_gradient(model, *arguments, inner_lr=0.05, weights=weights, engine=engine)
        assert relative(found, expected) < bound


@pytest.mark.parametrize("engine", ENGINES)
def test_example_weight_gradient_leaves_the_model_as_it_was(engine):
    model = network("noisybench_resnet20")
    before = snapshot(model)
    weights = torch.full((NOISY,), 0.1, dtype=torch.float64)
    found = example_weight_meta_gradient(model, *problem(), inner_lr=0.5, weights=weights, engine=engine)
    assert not found.requires_grad
    assert_untouched(model, before)
