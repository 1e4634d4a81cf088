"""PENCIL: the labels' step against the closed form, and its three phases."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_method import CLASSES, EVERYONE, SAMPLES, gradient, log_p, small_batch, small_method, weights

from noisybench.methods.pencil import Pencil
from noisybench.parallel.world import Share


def pencil_after_some_label_steps(**settings):
    """A method whose labels have left their starting point, so that no term's gradient is near 0."""
    method = small_method(Pencil, warmup_epochs=1, freeze_epoch=5, initial_gap=2.0, momentum=0.0, **settings)
    noise = torch.sin(torch.arange(SAMPLES * CLASSES, dtype=torch.float64)).view(SAMPLES, CLASSES)
    moved = method.context.store["label_logits"] + noise
    method.context.store.write("label_logits", torch.arange(SAMPLES), moved)
    return method


@pytest.mark.parametrize("compatibility", ["released", "published"])
def test_pencil_label_step_against_the_closed_form(compatibility):
    """∂Lc/∂ℓ = (y − p)/(N·C). ∂Lo/∂ℓ = (y − e)/N, or as released y∘(r − ⟨y, r⟩)/N with r = softmax(y) − e."""
    rows, alpha, beta, label_lr = [1, 4, 6, 9, 10], 0.4, 0.1, 600.0
    method = pencil_after_some_label_steps(compatibility=compatibility)
    batch = small_batch(method, rows, epoch=1)
    before = method.context.store["label_logits"].clone()
    logs = log_p(method, batch)
    p, y = logs.detach().exp(), before[rows].softmax(1)
    one_hot = F.one_hot(batch.labels, CLASSES)
    if compatibility == "released":
        residual = y.softmax(1) - one_hot
        compatible = y * (residual - (y * residual).sum(1, keepdim=True))
    else:
        compatible = y - one_hot
    slope = (y - p) / (5 * CLASSES) + alpha * compatible / 5

    # The network's loss has no compatibility term: Lc + β·Le, both means over N·C.
    network_loss = (logs.exp() * (logs - y.log())).mean() - beta * (logs.exp() * logs).mean()
    expected_weights = weights(method.network) - 0.1 * gradient(method.network, network_loss)

    method.training_step(batch)
    expected = before.clone()
    expected[rows] -= label_lr * slope
    torch.testing.assert_close(method.context.store["label_logits"], expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(weights(method.network), expected_weights)


def test_pencil_label_step_counts_the_global_batch():
    """Half of a batch moves its labels half as far as the same rows do as a whole batch."""
    whole, half = pencil_after_some_label_steps(), pencil_after_some_label_steps()
    before = whole.context.store["label_logits"].clone()
    whole.training_step(small_batch(whole, [0, 1, 2], epoch=1))
    with half.context.world.computing(Share(0.5, 0.5, alone=False)):
        half.training_step(small_batch(half, [0, 1, 2], epoch=1, global_size=6))
    moved = [method.context.store["label_logits"] - before for method in (whole, half)]
    assert moved[0].abs().sum() > 0
    torch.testing.assert_close(moved[0], 2 * moved[1])


def test_pencil_phases():
    method = pencil_after_some_label_steps()
    start = method.context.store["label_logits"].clone()
    warmup = small_batch(method, EVERYONE, epoch=0)
    expected = F.nll_loss(log_p(method, warmup), warmup.labels).item()
    assert method.training_step(warmup).loss.item() == pytest.approx(expected)
    assert torch.equal(method.context.store["label_logits"], start)

    method.training_step(small_batch(method, EVERYONE, epoch=4))
    moved = method.context.store["label_logits"].clone()
    assert not torch.equal(moved, start)

    last = small_batch(method, EVERYONE, epoch=5)
    logs = log_p(method, last).detach()
    expected = (logs.exp() * (logs - moved.log_softmax(1))).mean().item()
    assert method.training_step(last).loss.item() == pytest.approx(expected)
    assert torch.equal(method.context.store["label_logits"], moved)


def test_pencil_starts_at_ten_times_the_given_label_and_estimates_its_softmax():
    method = small_method(Pencil)
    given = method.context.given_labels
    assert torch.equal(method.context.store["label_logits"], 10.0 * F.one_hot(given, CLASSES).double())
    estimate = method.estimate_labels()
    assert estimate.soft_labels[0, given[0]].item() == pytest.approx(math.exp(10) / (math.exp(10) + 3))
    assert estimate.suspicion[0].item() == pytest.approx(math.log(3) - 10)
