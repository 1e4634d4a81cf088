"""JoCoR: its loss against the written-out formula, and its single step."""

from __future__ import annotations

import math

import pytest
import torch
from two_network_parts import (
    make_batch,
    make_data,
    make_method,
    smallest,
    stepped,
    weights_of,
)

from noisybench.methods.jocor import JoCoR, joint_losses


def test_jocors_loss_against_the_written_out_formula():
    drawn = torch.Generator().manual_seed(3)
    logits1, logits2 = torch.randn(2, 5, 4, generator=drawn, dtype=torch.float64)
    labels = torch.tensor([0, 3, 1, 2, 0])
    expected = []
    for row1, row2, label in zip(logits1.tolist(), logits2.tolist(), labels.tolist(), strict=True):
        p1 = [math.exp(o) / sum(map(math.exp, row1)) for o in row1]
        p2 = [math.exp(o) / sum(map(math.exp, row2)) for o in row2]
        fit = -math.log(p1[label]) - math.log(p2[label])
        there = sum(a * math.log(a / b) for a, b in zip(p1, p2, strict=True))
        back = sum(b * math.log(b / a) for a, b in zip(p1, p2, strict=True))
        expected.append(0.35 * fit + 0.65 * (there + back))
    assert joint_losses(logits1, logits2, labels, 0.65).tolist() == pytest.approx(expected, rel=1e-12)


def test_jocor_trains_both_networks_on_one_choice_with_one_optimizer():
    images, labels = make_data(12)
    method = make_method(JoCoR, images, labels, rate=0.5, co_lambda=0.3)
    assert len(method.optimizers) == 1
    before = [weight.requires_grad_() for weight in weights_of(method)]
    logits = [images.flatten(1) @ weight.T for weight in before]
    losses = joint_losses(*logits, labels, 0.3)
    expected = torch.autograd.grad(losses[smallest(losses.detach(), 6)].mean(), before)
    method.training_step(make_batch(images, labels))
    for wanted, found in zip(expected, stepped(before, weights_of(method)), strict=True):
        torch.testing.assert_close(found.detach(), wanted)
