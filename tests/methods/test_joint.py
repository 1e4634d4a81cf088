"""Joint optimization: labels are the mean of the last epochs' predictions; two stages."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from small_method import CLASSES, EVERYONE, gradient, log_p, small_batch, small_method, weights

from noisybench.methods.joint import Joint


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
