"""MLC: the label network's gradient against one taken through the step itself, and the rule that carries it on."""

from __future__ import annotations

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from small_method import EVERYONE, small_batch, small_method, weights

from noisybench.methods.mlc import MLC
from noisybench.methods.optimizers import weights_after_step


def logits_at(images, layer_weight, layer_bias):
    return images.flatten(1) @ layer_weight.T + layer_bias


def through_the_step(method, batch, momentum_of=None):
    """The loss, the label network's exact gradient and v, g of one step, all by a graph through the SGD step."""
    layer, lr = method.network[1], method.optimizer.param_groups[0]["lr"]
    w = [layer.weight.detach().clone().requires_grad_(), layer.bias.detach().clone().requires_grad_()]
    soft = method.label_network(batch.images.flatten(1), batch.labels)
    images, labels = batch.meta
    noisy = -(soft * logits_at(batch.images, *w).log_softmax(1)).sum()
    clean = F.cross_entropy(logits_at(images[1::2], *w), labels[1::2], reduction="sum")
    loss = (noisy + clean) / (len(batch.index) + len(labels[1::2]))
    steps = torch.autograd.grad(loss, w, create_graph=True)
    buffers = momentum_of or [torch.zeros_like(step) for step in steps]
    ahead = [a - lr * (0.9 * b + step) for a, b, step in zip(w, buffers, steps, strict=True)]
    meta = F.cross_entropy(logits_at(images[::2], *ahead), labels[::2])
    wanted = torch.autograd.grad(meta, list(method.label_network.parameters()), retain_graph=True)
    v = torch.autograd.grad(meta, ahead, retain_graph=True)
    g = torch.autograd.grad(F.cross_entropy(logits_at(images[::2], *w), labels[::2]), w)
    return loss, wanted, v, g, [a.detach() for a in ahead]


@pytest.mark.parametrize("carry", [False, True])
def test_the_label_networks_gradient_goes_through_the_optimizers_step(carry):
    method = small_method(MLC, carry=carry, embedding=3, hidden=5)
    batch, carried = small_batch(method, EVERYONE), None
    for number in range(2):  # the second step has momentum
        layer = method.network[1]
        buffers = None
        if number:
            buffers = [method.optimizer.state[p]["momentum_buffer"].clone() for p in (layer.weight, layer.bias)]
        loss, wanted, v, g, ahead = through_the_step(method, batch, buffers)
        if carry and carried is not None:
            along = sum((a * b).sum() for a, b in zip(v, g, strict=True)) / sum(part.square().sum() for part in g)
            factor = (0.9 * along).clamp(-1, 1)  # 1 - lr
            wanted = [own + factor * before for own, before in zip(wanted, carried, strict=True)]
        output = method.training_step(dataclasses.replace(batch, step=number))
        assert output.loss.item() == pytest.approx(loss.item())
        carried = [part.clone() for part in method.carried]
        for found, expected in zip(carried, wanted, strict=True):
            torch.testing.assert_close(found, expected.detach())
        torch.testing.assert_close(layer.weight.detach(), ahead[0])


def test_the_label_network_moves_at_every_so_many_steps():
    method = small_method(MLC, meta_every=2)
    batch, moved = small_batch(method, EVERYONE), []
    for step in range(4):
        before = weights(method.label_network)
        method.training_step(dataclasses.replace(batch, step=step))
        moved.append(not torch.equal(before, weights(method.label_network)))
    assert moved == [True, False, True, False]


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_weights_after_a_step_are_the_optimizers_own(name):
    weight = torch.nn.Parameter(torch.linspace(-1, 1, 4, dtype=torch.float64))
    given = {"momentum": 0.9, "weight_decay": 0.1} if name == "SGD" else {"weight_decay": 0.1}
    optimizer = getattr(torch.optim, name)([weight], lr=0.3, **given)
    for scale in (1.0, 2.0):
        gradient = scale * torch.arange(4.0, dtype=torch.float64)
        ahead = weights_after_step(optimizer, {"w": weight}, [gradient])
        weight.grad = gradient
        optimizer.step()
        torch.testing.assert_close(ahead["w"].detach(), weight.detach())
        assert ahead["w"].requires_grad and ahead["w"].grad is None
