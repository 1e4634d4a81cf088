"""Co-learning: the structure loss on the worked numbers, the contrast in closed form, and who is trained by which."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from small_method import CLASSES, EVERYONE, small_batch, small_method, weights
from worked_batch import LOGITS, near

from noisybench.methods.co_learning import CoLearning, contrastive_loss, similarities, structure_loss

PROJECTIONS = torch.tensor([[0, 0], [1, 0], [0, 2]], dtype=torch.float64)


def test_the_structure_loss():
    near(structure_loss(PROJECTIONS, LOGITS), 1.078390)
    leaf = PROJECTIONS.clone().requires_grad_()
    assert not structure_loss(leaf, LOGITS).requires_grad
    near(similarities(PROJECTIONS, "student"), [[1, 0.5, 0.2], [0.5, 1, 1 / 6], [0.2, 1 / 6, 1]])


def test_the_contrast_in_closed_form():
    """Two samples in orthogonal directions, both views alike: each row sees itself once and two others."""
    rows = torch.eye(2, dtype=torch.float64) * torch.tensor([[3.0], [0.2]], dtype=torch.float64)
    assert contrastive_loss(rows, rows, 0.5).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)))
    turned = rows.flip(0)
    assert contrastive_loss(rows, turned, 0.5).item() == pytest.approx(math.log(math.exp(2) + 2))


def co_learning_batch(method):
    batch = small_batch(method, EVERYONE)
    return dataclasses.replace(batch, views=[batch.images, batch.images.flip(2), -batch.images])


def test_a_step_by_hand():
    method = small_method(CoLearning, projection=6)
    batch = co_learning_batch(method)
    layer, projector = method.network[1], method.projector
    flat = [view.flatten(1) for view in batch.views]

    squared = torch.cdist(layer(flat[0]), layer(flat[0])).square()
    with torch.no_grad():
        likeness = torch.cdist(projector(flat[0]), projector(flat[0])).square().neg().exp()
    structure = -(likeness * (-squared).exp().add(1e-12).log()).mean()
    slope = torch.autograd.grad(structure, layer.weight)[0]
    moved = layer.weight.detach() - 0.02 * slope  # a fifth of the run's rate

    drawn = method.context.generator("mixup", batch.epoch, batch.step)
    factor, partners = drawn.beta(5.0, 5.0), torch.from_numpy(drawn.permutation(12))
    labels = F.one_hot(batch.labels, CLASSES).double()
    blend = lambda rows: factor * rows + (1 - factor) * rows[partners]  # noqa: E731
    bias = layer.bias.detach() - 0.02 * torch.autograd.grad(structure_of(method, flat[0]), layer.bias)[0]
    fit = -(blend(labels) * (blend(flat[0]) @ moved.T + bias).log_softmax(1)).sum(1).mean()
    contrast = contrastive_loss(projector(flat[1]), projector(flat[2]), 0.5)
    of_projector = torch.autograd.grad(contrast, projector[0].weight)[0]
    before = projector[0].weight.detach().clone()
    output = method.training_step(batch)
    assert output.loss.item() == pytest.approx((fit + contrast).item())
    torch.testing.assert_close(projector[0].weight.detach(), before - 0.1 * of_projector)
    torch.testing.assert_close(output.logs["structure"], structure.detach())


def structure_of(method, flat):
    return structure_loss(method.projector(flat), method.network[1](flat))


def test_the_classifier_alone_takes_the_structure_step():
    method = small_method(CoLearning)
    assert method.head is method.network[1]
    assert method.head_optimizer in method.context.scheduled
    assert method.head_optimizer.param_groups[0]["lr_scale"] == pytest.approx(0.2)
    before = weights(method.projector)
    method.context.step(structure_of(method, small_batch(method, EVERYONE).images.flatten(1)), method.head_optimizer)
    assert torch.equal(weights(method.projector), before)
