"""Methods that are a loss: each on the numbers worked out from its official code, and what its step adds to them."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from small_method import EVERYONE, gradient, log_p, small_batch, small_method, weights
from worked_batch import LABELS, LOGITS, OTHER_LOGITS, near, worked_batch

from noisybench.methods import losses
from noisybench.methods.anl import ANLCE, ANLCEER, entropy_deficit, normalized_negative_cross_entropy
from noisybench.methods.apl import NCEandAGCE, NCEandMAE, NCEandRCE
from noisybench.methods.cores2 import CORES2, confidence_losses
from noisybench.methods.f_div import PARTS, FDiv, given_probability
from noisybench.methods.gjs import GJS, JS, jensen_shannon
from noisybench.methods.label_smoothing import LabelSmoothing, NegativeLabelSmoothing, smoothed_cross_entropy
from noisybench.methods.peer import Peer, floored_cross_entropy, plan_value

CE = [0.407606, 2.169846, 1.098612]


def worked_loss(method_class, epoch: int = 0, **settings) -> torch.Tensor:
    method = small_method(method_class, **settings)
    return method.loss(LOGITS, worked_batch(method, epoch))


# Active passive losses


def test_active_and_passive_parts():
    near(losses.normalized_cross_entropy(LOGITS, LABELS), [0.096525, 0.393834, 0.333333])
    near(losses.reverse_cross_entropy(LOGITS, LABELS), [3.083245, 8.158564, 6.140227])
    near(losses.mean_absolute_error(LOGITS, LABELS), [1 - 0.665241, 1 - 0.114195, 2 / 3])
    near(losses.asymmetric_generalized_cross_entropy(LOGITS, LABELS, 6.0, 1.5).mean(), 1.621332)


def test_active_passive_losses():
    near(worked_loss(NCEandRCE), 6.068576)
    near(worked_loss(NCEandRCE, alpha=10.0, beta=0.1), 3.325043)
    near(worked_loss(NCEandMAE, alpha=2.0, beta=3.0), 2 * 0.274564 + 3 * (3 - 0.665241 - 0.114195 - 1 / 3) / 3)
    near(worked_loss(NCEandAGCE), 0.274564 + 1.621332)


@pytest.mark.parametrize("method_class", [NCEandRCE, ANLCE])
@pytest.mark.parametrize("clip_norm", [0.02, 0.0])
def test_the_gradients_norm_is_clipped(method_class, clip_norm):
    method = small_method(method_class, clip_norm=clip_norm)
    batch = small_batch(method, EVERYONE)
    slope = gradient(method.network, method.loss(method.network(batch.images), batch))
    before = weights(method.network)
    method.training_step(batch)
    moved = (before - weights(method.network)) / 0.1
    expected = slope * (0.02 / slope.norm()) if clip_norm else slope
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-7)


# Label smoothing


def test_smoothed_labels_of_either_sign():
    near(smoothed_cross_entropy(LOGITS, LABELS, 0.4), [0.807606, 2.036513, 1.098612])
    near(smoothed_cross_entropy(LOGITS, LABELS, -1.0), [-0.592394, 2.503179, 1.098612])
    near(worked_loss(LabelSmoothing, rate=0.4), (0.807606 + 2.036513 + 1.098612) / 3)


def test_negative_smoothing_comes_after_cross_entropy():
    near(worked_loss(NegativeLabelSmoothing, epoch=1, warmup_epochs=2), 1.225355)
    near(worked_loss(NegativeLabelSmoothing, epoch=2, warmup_epochs=2), 1.003133)


# Jensen-Shannon


def test_jensen_shannon_of_two_views_and_of_one():
    two = [LOGITS, OTHER_LOGITS]
    near(jensen_shannon(two, LABELS, 0.9), [0.663380, 1.156056, 0.882530])
    near(jensen_shannon(two, LABELS, 0.9, scaled=False).mean(), 0.207384)
    near(jensen_shannon(two, LABELS, 0.3).mean(), 1.333120)
    near(jensen_shannon([LOGITS], LABELS, 0.7).mean(), 0.845939)


@pytest.mark.parametrize("method_class", [JS, GJS])
def test_jensen_shannon_takes_every_view(method_class):
    method = small_method(method_class, label_weight=0.3)
    batch = small_batch(method, EVERYONE)
    views = [batch.images, batch.images.flip(3)][: 2 if method_class is GJS else 1]
    expected = jensen_shannon([method.network(view) for view in views], batch.labels, 0.3).mean()
    slope, before = gradient(method.network, expected), weights(method.network)
    output = method.training_step(dataclasses.replace(batch, views=views))
    assert output.loss.item() == pytest.approx(expected.item())
    torch.testing.assert_close(weights(method.network), before - 0.1 * slope)


def test_jensen_shannon_stays_finite_where_a_view_is_certain_of_another_class():
    logits = torch.tensor([[0.0, 800.0]], requires_grad=True)
    jensen_shannon([logits], torch.tensor([0]), 0.5).sum().backward()
    assert torch.isfinite(logits.grad).all()


# Active negative losses


def test_active_negative_losses():
    near(normalized_negative_cross_entropy(LOGITS, LABELS), [0.644007, 0.674447, 0.666667])
    near(entropy_deficit(LOGITS.softmax(1).mean(0)), 0.028940)
    near(worked_loss(ANLCE, l1=0.0), 4.681355)
    near(worked_loss(ANLCEER, l1=0.0), 4.739235)
    method = small_method(ANLCE, l1=0.01)
    size = weights(method.network).abs().sum()
    near(method.loss(LOGITS, worked_batch(method)) - 0.01 * size, 4.681355)


# Peer loss and f-divergence: peers are images 2, 0, 1 under labels 1, 2, 0.

PEER_LOGITS, PEER_LABELS = LOGITS[[2, 0, 1]], torch.tensor([1, 2, 0])


def with_peers(method, epoch: int):
    """The worked batch with those peers, for a method whose network answers with the worked logits."""
    batch = worked_batch(method, epoch)
    method.with_peers = lambda batch: (LOGITS, PEER_LOGITS, PEER_LABELS)
    method.context.step = lambda loss, optimizer, share: None
    return dataclasses.replace(batch, paired=worked_batch(method))


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, -0.999918), (0.5, 0.112696)])
def test_peer_loss(alpha, expected):
    near(floored_cross_entropy(LOGITS, LABELS).mean(), 1.225311)
    near(floored_cross_entropy(PEER_LOGITS, PEER_LABELS).mean(), 2.225228)
    method = small_method(Peer, warmup_epochs=1, plan_epochs=[5], plan_starts=[alpha], plan_ends=[alpha])
    near(method.training_step(with_peers(method, epoch=1)).loss, expected)


def test_peers_are_other_images_with_the_labels_of_still_others():
    method = small_method(Peer, warmup_epochs=0)
    paired = small_batch(method, EVERYONE)
    given = method.context.given_labels
    drawn = []
    for step in range(200):
        batch = dataclasses.replace(small_batch(method, EVERYONE), step=step, paired=paired)
        logits, peers, labels = method.with_peers(batch)
        torch.testing.assert_close(logits, method.network(batch.images))
        torch.testing.assert_close(peers, method.network(paired.images))
        drawn.append(labels)
    frequencies = torch.stack(drawn).flatten().bincount(minlength=4) / (200 * len(EVERYONE))
    assert frequencies.sub(given.bincount(minlength=4) / len(given)).abs().max() < 0.04
    assert torch.stack(drawn).eq(given).double().mean() < 0.4  # a quarter by chance
    assert [part.paired_rows is None for part in method.epoch_plan(0)] == [False]


def test_the_plan_of_alpha_is_noisypys():
    lengths, starts, ends = [20, 20, 50, 50, 100, 100], [0.0, 0, 1, 2, 5, 10], [0.0, 1, 2, 5, 10, 20]
    found = [plan_value(epoch, lengths, starts, ends) for epoch in (0, 20, 39, 89, 139, 240, 339, 500)]
    assert found == pytest.approx([0, 0, 1, 2, 5, 10, 20, 20], abs=0.06)
    assert plan_value(39, lengths, starts, ends) == 1 and plan_value(89, lengths, starts, ends) == 2


def test_the_rate_falls_as_alpha_rises():
    method = small_method(Peer, warmup_epochs=1, plan_epochs=[2], plan_starts=[0.0], plan_ends=[3.0])
    rates = []
    for epoch in (0, 1, 2, 3):
        method.optimizer.param_groups[0]["lr"] = 0.1
        method.start_epoch(epoch)
        rates.append(method.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.1, 0.025, 0.025])


@pytest.mark.parametrize(
    ("divergence", "expected"),
    [("total-variation", -0.093961), ("jensen-shannon", -0.079619), ("pearson", -0.205717), ("kl", 0.062282)],
)
def test_f_divergences(divergence, expected):
    near(given_probability(PEER_LOGITS, PEER_LABELS), [0.333333, 0.090031, 0.042010])
    method = small_method(FDiv, warmup_epochs=1, divergence=divergence)
    near(method.training_step(with_peers(method, epoch=1)).loss, expected)
    assert set(PARTS) == {"total-variation", "jensen-shannon", "pearson", "kl"}


def test_f_divergence_comes_after_cross_entropy_and_may_forget_momentum():
    method = small_method(FDiv, warmup_epochs=1, forget_momentum=True)
    batch = small_batch(method, EVERYONE)
    expected = -log_p(method, batch)[EVERYONE, batch.labels].mean().item()
    assert method.training_step(batch).loss.item() == pytest.approx(expected)
    method.start_epoch(0)
    assert method.optimizer.state
    method.start_epoch(1)
    assert not method.optimizer.state


# CORES2


def test_the_sieve_and_the_regularised_loss():
    prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    found, scores = confidence_losses(LOGITS, LABELS, prior, 2.0)
    near(found, [-1.807606, -2.369846, -1.098612])
    near(scores, [-1.0, 0.333333, 3e-8])
    assert scores[2] > 0  # a uniform prediction is dropped for 1e-8 alone
    near(found.mean(), -1.758688)


@pytest.mark.parametrize(("epoch", "expected", "kept"), [(30, -1.758688, [1, 1, 1]), (31, -1.807606, [1, 0, 0])])
def test_the_sieve_drops_from_its_epoch_on(epoch, expected, kept):
    method = small_method(CORES2)
    method.prior = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    method.beta = lambda epoch: 2.0
    method.network, method.context.step = (lambda images: LOGITS * 1.0), (lambda loss, optimizer: None)
    near(method.training_step(worked_batch(method, epoch)).loss, expected)
    assert method.context.store["kept"][:3].tolist() == kept
    near(method.estimate_labels().suspicion[:3], [-1.0, 0.333333, 0.0])


def test_the_regularisers_plan_and_rates():
    method = small_method(CORES2)
    betas = [method.beta(epoch) for epoch in (9, 10, 11, 20, 30, 39, 80)]
    assert betas == pytest.approx([0, 0, 0.068966, 0.689655, 1.379310, 2, 2], abs=1e-6)
    rates = []
    for epoch in (0, 20, 30, 40):
        method.optimizer.param_groups[0]["lr"] = 0.1
        method.start_epoch(epoch)
        rates.append(method.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.1, 0.059184, 0.042029, 0.033333], abs=1e-6)


def test_the_prior_counts_the_kept_samples():
    method = small_method(CORES2)
    given = method.context.given_labels
    method.start_epoch(0)
    near(method.prior, [0.25] * 4)
    kept = torch.ones(len(given), dtype=torch.float64)
    kept[(given == 1).nonzero()[:2, 0]] = 0
    kept[given == 2] = 0
    method.context.store.replace("kept", kept)
    method.start_epoch(1)
    near(method.prior, [3 / 7, 1 / 7, 0.0, 3 / 7])
    method.context.store.replace("kept", torch.zeros_like(kept))
    method.start_epoch(2)
    near(method.prior, [3 / 7, 1 / 7, 0.0, 3 / 7])


def test_a_batch_of_which_nothing_is_kept_changes_nothing():
    method = small_method(CORES2, sieve_epoch=0)
    before = weights(method.network)
    batch = small_batch(method, EVERYONE)
    certain = log_p(method, batch).argmin(1)
    output = method.training_step(dataclasses.replace(batch, labels=certain))
    assert output.loss.item() == 0 and torch.equal(weights(method.network), before)
    assert math.isfinite(method.epoch_logs()["kept_fraction"])
