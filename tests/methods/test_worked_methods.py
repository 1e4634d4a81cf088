"""Methods with state, a matrix or masked gradients: each on the numbers worked out from its official code."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from small_method import CLASSES, EVERYONE, gradient, small_batch, small_method, weights
from worked_batch import LABELS, LOGITS, OTHER_LOGITS, near, worked_batch

from noisybench.methods.backward import Backward, backward_corrected
from noisybench.methods.cdr import CDR, critical_gradients
from noisybench.methods.elr_plus import ELRPlus
from noisybench.methods.mixmatch import gaussian_ramp
from noisybench.methods.selc import SELC
from noisybench.methods.sop import SOP, SOPPlus, label_noise, sop_losses
from noisybench.methods.t_revision import Reweight, TRevision, importance
from noisybench.methods.volminnet import TransitionMatrix, VolMinNet

ONE_HOT = F.one_hot(LABELS, 3).double()
TRANSITION = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]], dtype=torch.float64)


def answers(method, logits=LOGITS):
    """Let the method's network answer with these logits; they take a gradient, and no step moves a weight."""
    leaf = logits.clone().requires_grad_()
    method.network = lambda images: leaf * 1.0
    method.context.step = lambda loss, optimizer: loss.backward()
    return leaf


def three_classes(method, **columns):
    """Columns for the three worked samples in place of the method's own."""
    for name, values in columns.items():
        method.context.store._columns[name] = values.clone()


# SELC


def test_selc_labels_drift_to_the_prediction_before_they_are_used():
    method = small_method(SELC, warmup_epochs=1)
    three_classes(method, soft_labels=ONE_HOT)
    answers(method)
    near(method.training_step(worked_batch(method, 0)).loss, 1.225355)
    near(method.context.store["soft_labels"], ONE_HOT.tolist())
    near(method.training_step(worked_batch(method, 1)).loss, 1.184662)
    expected = [[0.966524, 0.024473, 0.009003], [0.004201, 0.911420, 0.084379], [0.033333, 0.033333, 0.933333]]
    near(method.context.store["soft_labels"], expected)


# SOP

U = torch.tensor([[0.3], [0.6], [0.0]], dtype=torch.float64)
V = torch.tensor([[0, 0.2, 0.1], [0.5, 0, 0.4], [0.1, 0.3, 0]], dtype=torch.float64)
DU = [[-0.036508], [-1.010138], [0.0]]
DV = [[0, 0.010667, 0.001333], [0.166667, 0, -0.448], [-0.132, 0.036, 0]]


def test_sop_losses():
    fit, squared, q = sop_losses(LOGITS, label_noise(U, V, ONE_HOT), ONE_HOT)
    near(fit, 0.735366)
    near(squared, 1.058567)
    near(q, [[0.726193, 0.196854, 0.076952], [0.0001, 0.409463, 0.590450], [0.359259, 0.270370, 0.370370]])


def test_sop_moves_the_rows_of_the_batch_by_their_own_rates():
    method = small_method(SOP, lr_u=2.0, lr_v=3.0)
    three_classes(method, u=U, v=V)
    logits = answers(method)
    near(method.training_step(worked_batch(method)).loss, 0.735366 + 1.058567)
    near(logits.grad[0], [-0.098289, 0.071855, 0.026434])  # L_ce alone
    near((U - method.context.store["u"]) / 2.0, DU)
    near((V - method.context.store["v"]) / 3.0, DV)


def test_sop_starts_near_0_and_finds_the_label_without_its_noise():
    method = small_method(SOP)
    u, v = (method.context.store[name] for name in ("u", "v"))
    assert u.shape == (12, 1) and v.shape == (12, CLASSES) and u.dtype == torch.float64
    assert 0 < v.abs().max() < 5e-8 and v.std().item() == pytest.approx(1e-8, rel=0.3)
    method.training_step(small_batch(method, [3, 8]))
    kept = [row for row in EVERYONE if row not in (3, 8)]
    assert torch.equal(method.context.store["v"][kept], small_method(SOP).context.store["v"][kept])
    given = method.context.given_labels
    found = torch.zeros(12, CLASSES, dtype=torch.float64)
    found[0, (given[0] + 1) % CLASSES] = 1.0
    method.context.store.replace("v", found)
    method.context.store.replace("u", torch.tensor([[2.0]] + [[0.0]] * 11, dtype=torch.float64))
    estimate = method.estimate_labels()
    assert estimate.soft_labels.argmax(1).tolist() == [(given[0].item() + 1) % CLASSES, *given[1:].tolist()]
    assert estimate.suspicion[0] == 1 and estimate.suspicion[1:].eq(0).all()


def test_sop_plus_adds_consistency_and_balance():
    method = small_method(SOPPlus)
    batch = worked_batch(method)
    base = 0.735366 + 1.058567
    for weights_of, expected in (((0.0, 0.0), base), ((1.0, 0.0), base + 0.252398), ((0.0, 1.0), base + 1.102758)):
        settings = {"consistency_weight": weights_of[0], "balance_weight": weights_of[1]}
        method.settings = method.Settings(**settings)
        near(method.total_loss([LOGITS, OTHER_LOGITS], U, V, batch), expected)
    near(small_method(SOPPlus).total_loss([LOGITS, OTHER_LOGITS], U, V, batch), 2.131367)


# VolMinNet


@pytest.mark.parametrize(
    ("classes", "start", "diagonal", "off", "volume"),
    [
        (3, -2.0, 0.807490, 0.096255, -0.681506),
        (10, -2.0, 0.482433, 0.057507, -7.702569),
        (100, -4.5, 0.478994, 0.005263, -73.964309),
    ],
)
def test_the_transition_matrix_at_the_start(classes, start, diagonal, off, volume):
    transition = TransitionMatrix(classes, start).double()()
    near(transition.sum(1), [1.0] * classes)
    near(transition[0, :2], [diagonal, off])
    near(torch.linalg.slogdet(transition).logabsdet, volume)


def test_volminnet_trains_the_matrix_beside_the_network():
    method = small_method(VolMinNet)
    method.matrix = TransitionMatrix(3, -2.0).double()
    batch = worked_batch(method)
    loss = method.loss(LOGITS, batch)
    near(loss, 1.130170)
    expected = [[0, 0.023326, 0.001755], [0.006417, 0, -0.009697], [0.031705, -0.098189, 0]]
    near(torch.autograd.grad(loss, method.matrix.w)[0], expected)
    method.settings = method.Settings(volume_weight=0.0)
    near(method.loss(LOGITS, batch), 1.130239)


def test_volminnet_steps_both_by_one_backward_pass():
    method = small_method(VolMinNet, lr=0.1, matrix_lr=0.05)
    batch = small_batch(method, EVERYONE)
    loss = method.loss(method.network(batch.images), batch)
    of_matrix = torch.autograd.grad(loss, method.matrix.w, retain_graph=True)[0]
    of_network = gradient(method.network, loss)
    before = weights(method.network), method.matrix.w.detach().clone()
    method.training_step(batch)
    torch.testing.assert_close(weights(method.network), before[0] - 0.1 * of_network)
    torch.testing.assert_close(method.matrix.w.detach(), before[1] - 0.05 * of_matrix)
    assert method.matrix_optimizer in method.context.scheduled
    assert method.matrix_optimizer.param_groups[0]["lr_scale"] == pytest.approx(0.5)
    assert 0 < method.epoch_logs()["mean_diagonal"] < 1


# The transition family


def test_backward_correction():
    inverse = torch.linalg.inv(TRANSITION)
    near(backward_corrected(LOGITS, LABELS, inverse), [-0.325727, 2.436513, 1.098612])
    certain = torch.tensor([[0.0, 900.0, 0.0]])
    assert backward_corrected(certain, LABELS[:1], torch.eye(3)).item() == pytest.approx(-math.log(1e-7), rel=1e-6)


def test_backward_inverts_the_matrix_it_estimates_and_starts_afresh():
    method = small_method(Backward, estimation_epochs=2, filter_outliers=False)
    batch = small_batch(method, EVERYONE)
    for epoch in (0, 1):
        method.start_epoch(epoch)
        logits = method.network(batch.images)
        torch.testing.assert_close(method.loss(logits, batch), F.cross_entropy(logits, batch.labels))
        method.training_step(batch)
    method.start_epoch(2)
    torch.testing.assert_close(method.inverse @ method.transition, torch.eye(CLASSES, dtype=torch.float64))
    assert torch.equal(weights(method.network), weights(method.context.initialise(1).double()))


def test_importance_weights():
    near(importance(LOGITS, LABELS, TRANSITION), [1.309149, 0.425281, 1.25])
    method = small_method(Reweight)
    method.transition = TRANSITION
    logits = LOGITS.clone().requires_grad_()
    loss = method.loss(logits, worked_batch(method))
    near(loss, 0.943225)
    loss.backward()
    weights_of = torch.tensor([1.309149, 0.425281, 1.25], dtype=torch.float64)
    near(logits.grad, (weights_of[:, None] * (LOGITS.softmax(1) - ONE_HOT) / 3).tolist())


def test_reweighting_goes_on_from_the_estimating_network():
    method = small_method(Reweight, estimation_epochs=1, filter_outliers=False)
    batch = small_batch(method, EVERYONE)
    method.training_step(batch)
    before, p = weights(method.network), method.network(batch.images).detach().softmax(1)
    method.start_epoch(1)
    torch.testing.assert_close(method.transition, torch.stack([p[p[:, label].argmax()] for label in range(CLASSES)]))
    assert torch.equal(weights(method.network), before)


@pytest.mark.parametrize(
    ("add_per_sample", "expected", "b"),
    [(False, 0.943825, [1.228720, 0.424991, 1.282051]), (True, 0.968993, [1.228720, 0.424701, 1.351351])],
)
def test_the_revision_is_added_once_and_learned(add_per_sample, expected, b):
    method = small_method(TRevision, add_per_sample=add_per_sample)
    revision = torch.tensor([[0.05, -0.05, 0], [0, 0.02, -0.02], [0, 0, 0]], dtype=torch.float64)
    method.transition, method.revision.weight = TRANSITION, torch.nn.Parameter(revision)
    loss = method.revised_loss(LOGITS, worked_batch(method))
    near(loss, expected)
    times = torch.tensor([1, 2, 3] if add_per_sample else [1, 1, 1])[:, None, None]
    near(importance(LOGITS, LABELS, TRANSITION + times * revision), b)
    loss.backward()
    assert method.revision.weight.grad.abs().sum() > 0.01


def test_the_revision_has_an_optimizer_of_its_own():
    method = small_method(TRevision, revision_epoch=1, revision_lr=0.01)
    method.transition = torch.eye(CLASSES, dtype=torch.float64) * 0.6 + 0.1
    batch = small_batch(method, EVERYONE, epoch=1)
    assert method.revision.weight.eq(0).all()
    before = weights(method.network)
    method.training_step(batch)
    moved = torch.cat([weights(method.network) - before, method.revision.weight.detach().flatten()])
    torch.testing.assert_close(moved.abs().max().item(), 0.01, rtol=1e-4, atol=0)  # Adam's first step is the rate
    assert not method.optimizer.state and method.revision_optimizer not in method.context.scheduled


# CDR


def test_cdr_masks_the_gradients_of_weights_that_matter_little():
    w = torch.tensor([[0.5, -1.0], [0.1, 2.0]], dtype=torch.float64)
    g = torch.tensor([[0.2, 0.1], [-3.0, 0.01]], dtype=torch.float64)
    found = critical_gradients([w], [g], 0.6)
    near(found[0] * 0.6, [[0.12, 0.06], [-1.8, 0.0]])  # three are kept: two tie at the threshold
    split = critical_gradients([w[:1], w[1:]], [g[:1], g[1:]], 0.6)
    assert torch.equal(torch.cat(split), found[0])


@pytest.mark.parametrize("scale_kept", [True, False])
def test_cdr_steps_by_what_is_left(scale_kept):
    method = small_method(CDR, rate=0.4, scale_kept=scale_kept)
    batch = small_batch(method, EVERYONE)
    layer = method.network[1]
    loss = F.cross_entropy(method.network(batch.images), batch.labels)
    of_weight, of_bias = torch.autograd.grad(loss, [layer.weight, layer.bias])
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    method.start_epoch(0)
    method.training_step(batch)
    largest = (before[0] * of_weight).abs().flatten().topk(math.floor(0.6 * before[0].numel())).indices
    mask = torch.zeros(before[0].numel(), dtype=torch.float64).index_fill_(0, largest, 1.0).view_as(before[0])
    factor = 0.6 if scale_kept else 1.0
    torch.testing.assert_close(layer.weight.detach(), before[0] - 0.1 * factor * mask * of_weight)
    torch.testing.assert_close(layer.bias.detach(), before[1] - 0.1 * of_bias)


def test_cdr_holds_back_the_noise_rate_at_once_or_over_a_rise():
    at_once = small_method(CDR, priors={"noise_rate": 0.4})
    at_once.start_epoch(0)
    assert at_once.held_back == 0.4
    rising = small_method(CDR, priors={"noise_rate": 0.4}, ramp_epochs=10)
    for epoch, expected in ((0, 0.0), (5, 0.2), (10, 0.4), (15, 0.4)):
        rising.start_epoch(epoch)
        assert rising.held_back == pytest.approx(expected)


# ELR+


def test_elr_plus_targets_and_loss():
    method = small_method(ELRPlus)
    three_classes(method, targets=torch.full((3, 2, 3), 1 / 3, dtype=torch.float64))
    targets = method._move_targets(worked_batch(method), OTHER_LOGITS.softmax(1))
    expected = [[0.306752, 0.432906, 0.260343], [0.265285, 0.265285, 0.469429], [0.432906, 0.260343, 0.306752]]
    near(targets, expected)
    near(method.context.store["targets"][:, 0], expected)
    near(method.context.store["targets"][:, 1], [[1 / 3] * 3] * 3)
    partners = torch.tensor([1, 2, 0])
    mixed = 0.8 * targets + 0.2 * targets[partners]
    near(mixed[0], [0.298459, 0.399382, 0.302160])
    labels = 0.8 * ONE_HOT + 0.2 * ONE_HOT[partners]
    near(method.mixed_loss(LOGITS, labels, mixed, 0), -0.167565)
    near(small_method(ELRPlus, fit_to_targets=True).mixed_loss(LOGITS, labels, mixed, 0), -0.212284)


def test_elr_plus_decay_rises():
    method = small_method(ELRPlus)
    found = [method.decay(step) for step in (1, 10_000, 20_000, 40_000, 50_000)]
    assert found == pytest.approx([0.006719, 0.059875, 0.285645, 0.997, 0.997], abs=1.1e-6)
    assert gaussian_ramp(0, 0) == 1


def test_an_elr_plus_step_by_hand():
    method = small_method(ELRPlus, ema_ramp=0, ema_decay=0.75)
    batch = dataclasses.replace(small_batch(method, EVERYONE), tag=1)
    drawn = method.context.generator("mixup", batch.epoch, batch.step)
    factor = drawn.beta(1.0, 1.0)
    factor = max(factor, 1 - factor)
    partners = torch.from_numpy(drawn.permutation(12))
    with torch.no_grad():
        targets = 0.3 * method.averages[0](batch.images).softmax(1)
    blend = lambda rows: factor * rows + (1 - factor) * rows[partners]  # noqa: E731
    logs = method.networks[1](blend(batch.images)).log_softmax(1)
    expected = -(blend(F.one_hot(batch.labels, CLASSES).double()) * logs).sum(1).mean()
    expected = expected + 3.0 * (1 - (blend(targets) * logs.exp()).sum(1)).log().mean()
    slope, before = gradient(method.networks[1], expected), weights(method.networks[1])
    other = weights(method.networks[0]), weights(method.averages[0])
    output = method.training_step(batch)
    assert output.loss.item() == pytest.approx(expected.item())
    torch.testing.assert_close(weights(method.networks[1]), before - 0.1 * slope)
    torch.testing.assert_close(weights(method.averages[1]), 0.75 * before + 0.25 * weights(method.networks[1]))
    assert method.steps == [0, 1]
    assert torch.equal(other[0], weights(method.networks[0])) and torch.equal(other[1], weights(method.averages[0]))
    torch.testing.assert_close(method.context.store["targets"][:, 1], targets)
    torch.testing.assert_close(method.estimate_labels().soft_labels, (targets / targets.sum(1, keepdim=True)).float())
