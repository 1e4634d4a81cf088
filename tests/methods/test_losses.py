"""Loss-based methods: every formula against a closed form, a limit or a case worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_method import SAMPLES, small_batch, small_method, weights

from noisybench.methods import losses
from noisybench.methods.anchor_points import anchor_transition_matrix
from noisybench.methods.bootstrap import HardBootstrap, SoftBootstrap
from noisybench.methods.context import UndeclaredError
from noisybench.methods.forward import Forward, ForwardOracle
from noisybench.methods.gce import GCE
from noisybench.methods.sce import SCE


@pytest.fixture
def logits():
    return torch.from_numpy(np.random.default_rng(1).normal(0, 2, (6, 10))).requires_grad_()


@pytest.fixture
def labels():
    return torch.tensor([0, 3, 9, 3, 1, 7])


def p_given(logits, labels):
    return logits.softmax(1)[torch.arange(len(labels)), labels]


def ce(logits, labels):
    return F.cross_entropy(logits, labels, reduction="none")


def test_entropy_is_the_mean_over_all_entries():
    logits = torch.tensor([[0.0, 0.0], [math.log(3.0), 0.0]], dtype=torch.float64)
    second = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert losses.entropy(logits).item() == pytest.approx((math.log(2) + second) / 4)


# GCE


def test_gce_tends_to_cross_entropy_as_q_tends_to_0(logits, labels):
    torch.testing.assert_close(
        losses.generalized_cross_entropy(logits, labels, 1e-9), ce(logits, labels), rtol=1e-7, atol=0
    )


def test_gce_at_q_1_is_half_the_absolute_error(logits, labels):
    absolute = (logits.softmax(1) - F.one_hot(labels, 10)).abs().sum(1)
    torch.testing.assert_close(losses.generalized_cross_entropy(logits, labels, 1.0), absolute / 2)


def test_gce_by_the_formula(logits, labels):
    expected = (1 - p_given(logits, labels) ** 0.7) / 0.7
    torch.testing.assert_close(losses.generalized_cross_entropy(logits, labels, 0.7), expected)


def test_gce_has_a_finite_gradient_where_the_label_has_no_probability():
    logits = torch.tensor([[0.0, 2000.0]], requires_grad=True)
    losses.generalized_cross_entropy(logits, torch.tensor([0]), 0.7).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_truncated_gce_prunes_by_the_current_predictions_and_gives_pruned_samples_no_gradient():
    method = small_method(GCE, q=0.7, prune_from=3, prune_every=2, threshold=0.25)
    given = method.context.given_labels
    everyone = small_batch(method, list(range(SAMPLES)))

    def probabilities():
        return p_given(method.network(everyone.images).detach(), given)

    for epoch in (0, 1, 2):
        method.start_epoch(epoch)
        assert method.context.store["kept"].eq(1).all()
    first = probabilities() > 0.25
    assert 0 < first.sum() < SAMPLES
    method.start_epoch(3)
    assert torch.equal(method.context.store["kept"].bool(), first)
    assert method.epoch_logs() == {"kept_fraction": pytest.approx(first.double().mean().item())}

    logits = method.network(everyone.images).detach().requires_grad_()
    loss = method.loss(logits, everyone)
    per_sample = (1 - p_given(logits, given) ** 0.7) / 0.7
    constant = (1 - 0.25**0.7) / 0.7
    assert loss.item() == pytest.approx(torch.where(first, per_sample, torch.tensor(constant)).mean().item())
    loss.backward()
    assert torch.equal(logits.grad.abs().sum(1) > 0, first)

    with torch.no_grad():
        method.network[1].weight.mul_(-1)
    method.start_epoch(4)
    assert torch.equal(method.context.store["kept"].bool(), first)
    method.start_epoch(5)
    second = probabilities() > 0.25
    assert not torch.equal(second, first)
    assert torch.equal(method.context.store["kept"].bool(), second)
    assert method.network.training


# SCE


def test_reverse_cross_entropy_is_9_21_times_the_missing_probability(logits, labels):
    expected = -math.log(1e-4) * (1 - p_given(logits, labels))
    torch.testing.assert_close(losses.reverse_cross_entropy(logits, labels), expected)
    assert -math.log(1e-4) == pytest.approx(9.21, abs=1e-3)


def test_sce_weighs_both_terms():
    method = small_method(SCE, alpha=0.3, beta=2.0)
    batch = small_batch(method, [0, 5, 7])
    logits = method.network(batch.images)
    expected = 0.3 * ce(logits, batch.labels) + 2.0 * 9.210340372 * (1 - p_given(logits, batch.labels))
    assert method.loss(logits, batch).item() == pytest.approx(expected.mean().item())


def test_the_mslg_authors_sce_is_linear_in_the_probability(logits, labels):
    """Their reverse term is 2.461 − p_y at ten classes; their cross-entropy takes probabilities for logits."""
    reverse, cross = small_method(SCE, alpha=0.0, double_softmax=True), small_method(SCE, beta=0.0, double_softmax=True)
    batch = small_batch(reverse, list(range(6)))
    object.__setattr__(batch, "labels", labels)
    expected = 2.461 - p_given(logits, labels).mean().item()
    assert reverse.loss(logits, batch).item() == pytest.approx(expected, abs=5e-4)
    p = logits.softmax(1)
    log_normaliser = p.exp().sum(1).log()
    expected = 0.1 * (log_normaliser - p_given(logits, labels)).mean()
    assert cross.loss(logits, batch).item() == pytest.approx(expected.item())


# Bootstrapping


@pytest.mark.parametrize("loss", [losses.soft_bootstrap, losses.hard_bootstrap])
def test_bootstrap_with_beta_1_is_cross_entropy(loss, logits, labels):
    torch.testing.assert_close(loss(logits, labels, 1.0), ce(logits, labels))


def test_soft_bootstrap_has_the_gradient_through_its_target(logits, labels):
    """d/do of −Σ t log p with t = β·e_y + (1 − β)·p: p − t from log p, −(1 − β)·p∘(log p + H) from the target."""
    beta = 0.6
    losses.soft_bootstrap(logits, labels, beta).sum().backward()
    p = logits.detach().softmax(1)
    target = beta * F.one_hot(labels, 10) + (1 - beta) * p
    entropy = -(p * p.log()).sum(1, keepdim=True)
    expected = p - target - (1 - beta) * p * (p.log() + entropy)
    torch.testing.assert_close(logits.grad, expected)


def test_hard_bootstrap_by_hand():
    logits = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64).log()
    loss = losses.hard_bootstrap(logits, torch.tensor([2]), 0.8)
    assert loss.item() == pytest.approx(-0.8 * math.log(0.1) - 0.2 * math.log(0.7))


@pytest.mark.parametrize(
    ("method_class", "loss", "beta"),
    [(SoftBootstrap, losses.soft_bootstrap, 0.95), (HardBootstrap, losses.hard_bootstrap, 0.8)],
)
def test_bootstrap_methods_have_the_usual_beta(method_class, loss, beta):
    method = small_method(method_class)
    batch = small_batch(method, [1, 2])
    logits = method.network(batch.images)
    torch.testing.assert_close(method.loss(logits, batch), loss(logits, batch.labels, beta).mean())


# Forward correction


def test_forward_with_the_identity_is_cross_entropy(logits, labels):
    identity = torch.eye(10, dtype=torch.float64)
    loss = losses.forward_corrected(logits, labels, identity)
    torch.testing.assert_close(loss, ce(logits, labels))
    loss.sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().softmax(1) - F.one_hot(labels, 10))


def test_forward_by_hand():
    """p = (0.8, 0.2), given label 1: 0.8·0.3 + 0.2·0.6 = 0.36. The transposed matrix would give 0.44."""
    logits = torch.tensor([[0.8, 0.2]], dtype=torch.float64).log()
    transition = torch.tensor([[0.7, 0.3], [0.4, 0.6]], dtype=torch.float64)
    loss = losses.forward_corrected(logits, torch.tensor([1]), transition)
    assert loss.item() == pytest.approx(-math.log(0.36))


def test_anchor_points_without_the_filter_are_the_surest_predictions():
    probabilities = torch.tensor([[0.9, 0.1], [0.6, 0.4], [0.3, 0.7]], dtype=torch.float64)
    found = anchor_transition_matrix(probabilities, filter_outliers=False)
    torch.testing.assert_close(found, torch.tensor([[0.9, 0.1], [0.3, 0.7]], dtype=torch.float64))


def test_anchor_points_at_or_above_the_97th_percentile_are_set_aside():
    """101 samples: the percentile is order statistic 97 counted from 0, so 97 to 100 go and 96 is the anchor."""
    order = np.random.default_rng(3).permutation(101)
    first = np.linspace(0.05, 0.85, 101)[order]
    second = (1 - first) * np.random.default_rng(4).permutation(np.linspace(0.1, 0.9, 101))
    rows = np.stack([first, second, 1 - first - second], axis=1)
    found = anchor_transition_matrix(torch.from_numpy(rows))
    for label in range(3):
        anchor = np.argsort(rows[:, label])[96]
        np.testing.assert_allclose(found[label].numpy(), rows[anchor], rtol=1e-12)


def test_rows_of_the_estimate_sum_to_1_whatever_the_predictions_sum_to():
    scores = torch.tensor([[2.0, 2.0], [1.0, 3.0]], dtype=torch.float64)
    found = anchor_transition_matrix(scores, filter_outliers=False)
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.5], [0.25, 0.75]], dtype=torch.float64))


def test_forward_estimates_once_and_starts_afresh():
    method = small_method(Forward, estimation_epochs=2, filter_outliers=False)
    batch = small_batch(method, list(range(SAMPLES)))
    for epoch in (0, 1):
        method.start_epoch(epoch)
        logits = method.network(batch.images)
        torch.testing.assert_close(method.loss(logits, batch), F.cross_entropy(logits, batch.labels))
        method.training_step(batch)
    predictions = method.network(batch.images).detach().softmax(1)
    expected = torch.stack([predictions[predictions[:, label].argmax()] for label in range(4)])
    method.start_epoch(2)
    torch.testing.assert_close(method.transition, expected)
    fresh = method.context.initialise(1).double()
    assert torch.equal(weights(method.network), weights(fresh))
    assert not method.optimizer.state
    logits = method.network(batch.images)
    seen = (logits.softmax(1) @ expected)[torch.arange(SAMPLES), batch.labels]
    assert method.loss(logits, batch).item() == pytest.approx(-seen.log().mean().item())
    method.training_step(batch)
    moved = weights(method.network)
    method.start_epoch(3)
    assert torch.equal(weights(method.network), moved)
    torch.testing.assert_close(method.transition, expected)


def test_only_the_oracle_may_read_the_transition_matrix():
    transition = torch.full((4, 4), 0.1, dtype=torch.float64) + 0.6 * torch.eye(4, dtype=torch.float64)
    oracle = small_method(ForwardOracle, priors={"transition_matrix": transition})
    assert torch.equal(oracle.transition, transition)
    estimating = small_method(Forward, priors={"transition_matrix": transition})
    with pytest.raises(UndeclaredError):
        _ = estimating.context.transition_matrix


# Penalties of the label-updating methods


def test_prior_penalty_by_hand():
    mean = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64)
    expected = (math.log(2 / 3) + 2 * math.log(4 / 3)) / 3
    assert losses.prior_penalty(mean).item() == pytest.approx(expected)
    assert losses.prior_penalty(torch.full((5,), 0.2, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-12)


def test_elr_regulariser_by_hand():
    """⟨t, p⟩ = 0.3·0.7 + 0.5·0.2 = 0.31."""
    logits = torch.tensor([[0.7, 0.2, 0.1]], dtype=torch.float64).log()
    targets = torch.tensor([[0.3, 0.5, 0.0]], dtype=torch.float64)
    assert losses.early_learning_regularizer(logits, targets).item() == pytest.approx(math.log(0.69))


def test_elr_gradient_is_the_papers_and_pulls_towards_the_target(logits):
    """∂/∂o_c log(1 − ⟨t, p⟩) = p_c/(1 − ⟨t, p⟩) · Σ_k (t_k − t_c) p_k."""
    logits = (0.3 * logits.detach()).requires_grad_()
    targets = torch.from_numpy(np.random.default_rng(5).dirichlet(np.full(10, 0.1), 6)) * 0.97
    losses.early_learning_regularizer(logits, targets).sum().backward()
    p = logits.detach().softmax(1)
    agreement = (targets * p).sum(1, keepdim=True)
    expected = p / (1 - agreement) * (agreement - targets)
    torch.testing.assert_close(logits.grad, expected)
    strongest = targets.argmax(1, keepdim=True)
    assert (logits.grad.gather(1, strongest) < 0).all(), "descent must raise the logit of the target's class"


def test_elr_regulariser_stays_finite_when_target_and_prediction_are_certain():
    logits = torch.tensor([[500.0, 0.0, 0.0]], requires_grad=True)
    loss = losses.early_learning_regularizer(logits, torch.tensor([[1.0, 0.0, 0.0]]))
    assert loss.item() == pytest.approx(math.log(1e-4), rel=1e-3)
    loss.sum().backward()
    assert torch.isfinite(logits.grad).all()
