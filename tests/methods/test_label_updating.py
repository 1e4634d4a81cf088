"""Joint optimization, PENCIL and ELR: what they keep per sample and how it moves."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_method import CLASSES, EVERYONE, SAMPLES, gradient, small_batch, small_method, weights

from noisybench.methods.elr import ELR
from noisybench.methods.joint import Joint
from noisybench.methods.pencil import Pencil


def log_p(method, batch):
    return method.network(batch.images).log_softmax(1)


# Joint optimization


def joint_loss(log_p, target, prior_weight, entropy_weight):
    """Tanaka et al. 2018, term by term."""
    p = log_p.exp()
    classification = -(target * log_p).sum(1).mean()
    prior = sum(math.log(1 / CLASSES) - share.log() for share in p.mean(0)) / CLASSES
    entropy = -(p * log_p).sum(1).mean()
    return classification + prior_weight * prior + entropy_weight * entropy


def test_joint_labels_are_the_mean_of_the_last_ten_epochs_predictions():
    method = small_method(Joint, first_stage_epochs=15, label_start=12, lr=0.3)
    given = F.one_hot(method.context.given_labels, CLASSES).double()
    torch.testing.assert_close(method.estimate_labels().soft_labels, given.float())
    history = []
    for epoch in range(15):
        method.start_epoch(epoch)
        batch = small_batch(method, EVERYONE, epoch=epoch)
        before = log_p(method, batch)
        target = given if epoch < 12 else torch.stack(history[-10:]).mean(0)
        expected = joint_loss(before, target, 1.2, 0.8)
        step = weights(method.network)
        slope = gradient(method.network, expected)
        method.optimizer.state.clear()  # so that a step is the gradient's alone
        output = method.training_step(batch)
        assert output.loss.item() == pytest.approx(expected.item()), epoch
        torch.testing.assert_close(weights(method.network), step - 0.3 * slope)
        history.append(before.detach().exp())
        if epoch >= 9:
            mean = torch.stack(history[-10:]).mean(0)
            estimate = method.estimate_labels()
            torch.testing.assert_close(estimate.soft_labels, mean.float())
            torch.testing.assert_close(estimate.suspicion, 1 - (mean * given).sum(1))


def test_joint_second_stage_is_a_fresh_network_on_frozen_labels():
    method = small_method(Joint, first_stage_epochs=3, label_start=2, window=2)
    for epoch in range(3):
        method.start_epoch(epoch)
        method.training_step(small_batch(method, EVERYONE, epoch=epoch))
    labels = method.context.store["predictions"].mean(1)
    method.start_epoch(3)
    assert torch.equal(weights(method.network), weights(method.context.initialise(1).double()))
    assert not method.optimizer.state
    for epoch in (3, 4):
        batch = small_batch(method, EVERYONE, epoch=epoch)
        expected = -(labels * log_p(method, batch)).sum(1).mean().item()
        assert method.training_step(batch).loss.item() == pytest.approx(expected)
        moved = weights(method.network)
        method.start_epoch(epoch + 1)
        assert torch.equal(weights(method.network), moved)
    assert torch.equal(method.context.store["predictions"].mean(1), labels)


def test_joint_keeps_rows_of_other_samples():
    method = small_method(Joint)
    before = method.context.store["predictions"].clone()
    method.training_step(small_batch(method, [2, 7]))
    changed = (method.context.store["predictions"] != before).any(dim=(1, 2))
    assert changed.nonzero()[:, 0].tolist() == [2, 7]


def test_the_mslg_authors_joint_loss_has_a_further_softmax_in_its_entropy():
    method = small_method(Joint, prior_weight=0.0, entropy_weight=1.0, double_softmax_entropy=True)
    batch = small_batch(method, EVERYONE)
    logs = log_p(method, batch).detach()
    p = logs.exp()
    entropy = -(p * (p - p.exp().sum(1, keepdim=True).log())).sum(1).mean()
    expected = F.nll_loss(logs, batch.labels) + entropy
    assert method.training_step(batch).loss.item() == pytest.approx(expected.item())


# PENCIL


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


# ELR


def test_elr_targets_are_running_means_of_predictions():
    method = small_method(ELR, beta=0.7, regularizer_weight=3.0)
    batch = small_batch(method, [3, 8])
    seen = []
    for _ in range(2):
        logs = log_p(method, batch)
        p = logs.exp()
        seen.append(p.detach())
        target = 0.3 * seen[0] if len(seen) == 1 else 0.21 * seen[0] + 0.3 * seen[1]
        agreement = (target * p).sum(1)
        expected = F.nll_loss(logs, batch.labels) + 3.0 * (1 - agreement).log().mean()
        slope, before = gradient(method.network, expected), weights(method.network)
        method.optimizer.state.clear()  # so that a step is the gradient's alone
        output = method.training_step(batch)
        assert output.loss.item() == pytest.approx(expected.item())
        torch.testing.assert_close(weights(method.network), before - 0.1 * slope)
        torch.testing.assert_close(method.context.store["targets"][[3, 8]], target)
    others = [row for row in EVERYONE if row not in (3, 8)]
    assert method.context.store["targets"][others].eq(0).all()

    estimate = method.estimate_labels().soft_labels
    torch.testing.assert_close(estimate[[3, 8]], (target / 0.51).float())
    given = F.one_hot(method.context.given_labels, CLASSES).float()
    assert torch.equal(estimate[others], given[others])


def test_elr_targets_are_clipped_and_renormalised():
    method = small_method(ELR, beta=0.5)
    with torch.no_grad():
        method.network[1].weight.zero_()
        method.network[1].bias.copy_(torch.tensor([100.0, 0.0, 0.0, 0.0]))
    method.training_step(small_batch(method, [0]))
    total = (1 - 1e-4) + 3e-4
    expected = 0.5 * torch.tensor([1 - 1e-4, 1e-4, 1e-4, 1e-4], dtype=torch.float64) / total
    torch.testing.assert_close(method.context.store["targets"][0], expected)
