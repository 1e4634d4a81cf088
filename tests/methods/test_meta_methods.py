"""MLNT, Meta-Weight-Net, L2R, L2B and MetaLabelNet, step for step against double backwards written out here."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call
from worlds import process

import noisybench
from noisybench.core.errors import UserError
from noisybench.data.loader import Pass
from noisybench.meta import noisy_forward, plain_attention
from noisybench.methods.ema import frozen_copy, update_ema
from noisybench.methods.l2r import positive_shares
from noisybench.methods.mlnt import MLNT, nearest_neighbours, synthetic_labels
from noisybench.spec.registry import load_method
from noisybench.train.build import Place
from noisybench.train.checkpoint_file import checkpoints
from noisybench.train.prepare import prepare
from noisybench.train.session import Session

BATCH, CLASSES, LR = 24, 10, 0.1


def config(method, **changes):
    """A tiny float64 run on digits by plain SGD: a step moves the weights by −LR times the gradient."""
    given = {
        "method": method,
        "dataset": "digits",
        "noise_rate": 0.4,
        "limit_train": 132,
        "meta_size": 40,
        "noisy_val_size": 10,
        "clean_val_size": 10,
        "epochs": 4,
        "batch_size": BATCH,
        "precision": "float64",
        "optimizer": {"name": "sgd", "lr": LR, "momentum": 0.0, "weight_decay": 0.0},
        "schedule": {"name": "constant"},
    }
    # Settings not named here are the class's own, not the digits recipe's.
    settings = {**load_method(method).Settings().model_dump(mode="json"), **changes.pop("settings", {})}
    return noisybench.resolve(noisybench.RunConfig(**{**given, **changes, "settings": settings}))


def made(method, **changes):
    """The method as the loop builds it, and its first epoch's batches."""
    run_config, device = config(method, **changes), torch.device("cpu")
    session = Session(run_config, prepare(run_config), Place(process(), device, torch.float64))
    return session.method, list(session.loader.batches(Pass(), epoch=0, number=0, first_step=0))


def logits_at(model, parameters, images):
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return functional_call(model, {**parameters, **buffers}, (images,))


def weights_of(model):
    return {name: parameter.detach().clone().requires_grad_() for name, parameter in model.named_parameters()}


def flat(tensors):
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def gradients_of_steps(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    """Will hold the gradient of every step that the optimizer takes from now on, flat: after a step they are gone."""
    found = []

    def keep(*_):
        found.append(flat(parameter.grad.clone() for group in optimizer.param_groups for parameter in group["params"]))

    optimizer.register_step_pre_hook(keep)
    return found


def assert_close(found, expected, bound=1e-9):
    assert float((found - expected).norm() / expected.norm()) < bound


# MLNT


def mlnt(**settings):
    return made("mlnt", settings={"warmup_epochs": 0, "label_sets": 3, "start_step": 0, "ramp_steps": 4, **settings})


def mlnt_double_backward(method, before, batch, label_sets, inner_lr, divisor):
    """The released code's form: one backward through M look-ahead steps of one forward pass."""
    teacher = {name: parameter.detach() for name, parameter in method.teacher.named_parameters()}
    q = logits_at(method.teacher, teacher, batch.images).softmax(1)
    logits = logits_at(method.network, before, batch.images)
    total = 0.0
    for labels in label_sets:
        inner = F.cross_entropy(logits, labels)
        gradients = torch.autograd.grad(inner, list(before.values()), create_graph=True)
        ahead = {n: w - inner_lr * g for (n, w), g in zip(before.items(), gradients, strict=True)}
        log_p = logits_at(method.network, ahead, batch.images).log_softmax(1)
        total = total + (q * (q.log() - log_p)).sum() / divisor
    return flat(torch.autograd.grad(total / len(label_sets), list(before.values()), retain_graph=True)), logits


@pytest.mark.parametrize("hessian", ["shared-graph", "forward-over-reverse"])
def test_mlnt_meta_gradient_is_the_double_backward(hessian):
    method, batches = mlnt(inner_lr=0.2, hessian=hessian)
    method.start_epoch(0)
    method.training_step(batches[0])
    method.training_step(batches[1])  # now student and teacher differ
    batch, before = batches[2], weights_of(method.network)
    label_sets = method._synthetic_label_sets(batch)
    with plain_attention():
        forward = noisy_forward(method.network, batch.images, update_buffers=False)
    buffers = {name: buffer.clone() for name, buffer in method.network.named_buffers()}
    found, _ = method.meta_gradient(forward, batch)
    expected, _ = mlnt_double_backward(method, before, batch, label_sets, 0.2, BATCH * CLASSES)
    assert_close(flat(found), expected)
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in method.network.named_buffers())


@pytest.mark.parametrize(("reduction", "divisor"), [("mean", BATCH * CLASSES), ("batchmean", BATCH)])
def test_mlnt_steps_on_the_sum_of_both_gradients(reduction, divisor):
    method, batches = mlnt(inner_lr=0.2, kl_reduction=reduction, consistency_weight=30.0)
    method.start_epoch(0)
    method.training_step(batches[0])
    method.phase_step = 3
    batch, before = batches[1], weights_of(method.network)
    label_sets = method._synthetic_label_sets(batch)
    method.training_step(batch)
    meta, logits = mlnt_double_backward(method, before, batch, label_sets, 0.2, divisor)
    ce = flat(torch.autograd.grad(F.cross_entropy(logits, batch.labels), list(before.values())))
    a = 30.0 * math.exp(-5 * (1 - 3 / 4) ** 2)
    moved = (flat(before.values()) - flat(method.network.parameters())) / LR
    assert_close(moved, ce + a * meta)
    assert float((moved - ce).norm() / ce.norm()) > 1e-3  # the meta part is really there


def test_mlnt_schedules_have_the_released_values():
    method, _ = made("mlnt", settings={"start_step": 500, "ramp_steps": 1500})
    expected = {0: 0.0, 500: 0.0, 501: 0.006783, 1250: math.exp(-1.25), 2000: 1.0, 9999: 1.0}
    for step, value in expected.items():
        assert method.consistency_weight(step) == pytest.approx(value, rel=1e-3)
    assert [method.teacher_decay(step) for step in (501, 2000, 2001)] == [0.99, 0.99, 0.999]


def test_mlnt_is_cross_entropy_where_the_consistency_weight_is_zero(monkeypatch):
    method, batches = mlnt(start_step=2)
    method.start_epoch(0)
    calls = []
    original = type(method).meta_gradient
    monkeypatch.setattr(type(method), "meta_gradient", lambda *a: calls.append(1) or original(*a))
    plain, plain_batches = made("ce", settings={})
    for batch, plain_batch in zip(batches[:3], plain_batches[:3], strict=True):
        method.training_step(batch)
        plain.training_step(plain_batch)
    assert not calls and not method.teacher_started
    assert torch.equal(flat(method.network.parameters()), flat(plain.network.parameters()))
    method.training_step(batches[0])
    assert calls == [1]


def test_mlnt_phases():
    """Epochs 0-1 cross-entropy, then two meta phases of two epochs; the second drops what the mentor disbelieves."""
    method, batches = made("mlnt", epochs=6, settings={"warmup_epochs": 2, "iterations": 2, "start_step": 0})
    initial = flat(method.network.parameters())
    for epoch in (0, 1):
        method.start_epoch(epoch)
        method.training_step(batches[epoch])
    assert method.iteration == 0
    warm = flat(method.network.parameters())
    method.start_epoch(2)
    assert torch.equal(flat(method.mentor.parameters()), warm)
    fresh = flat(method.network.parameters())
    assert not torch.equal(fresh, warm) and not torch.equal(fresh, initial)
    assert method.epoch_plan(2) == [Pass()] and (method.iteration, method.phase_step) == (1, 0)
    for batch in batches[:3]:
        method.training_step(batch)
    method.start_epoch(3)
    assert method.iteration == 1
    with torch.no_grad():  # a teacher that rules class 3 out
        method.teacher.fc.bias[3] -= 50
    teacher = flat(method.teacher.parameters())
    method.start_epoch(4)
    assert method.iteration == 2
    assert torch.equal(flat(method.mentor.parameters()), teacher)
    assert not torch.equal(flat(method.network.parameters()), fresh)
    method.mentor.eval()
    given = method.context.given_labels
    probabilities = method.context.full_pass(lambda images, rows: method.mentor(images).softmax(1))
    likely = probabilities[torch.arange(len(given)), given] >= 0.01
    assert not likely[given == 3].any() and likely.any()
    assert method.epoch_plan(4)[0].rows.tolist() == likely.nonzero()[:, 0].tolist()


def test_mlnt_refuses_more_phases_than_epochs():
    with pytest.raises(UserError, match="3 meta phases do not fit into the 2 epochs"):
        made("mlnt", settings={"warmup_epochs": 2, "iterations": 3})


def test_mlnt_draws_label_sets_over_the_global_batch(monkeypatch):
    """A process that holds the second half of the batch finds its part of the labels that one process draws."""
    method, batches = mlnt()
    method.start_epoch(0)
    batch = batches[0]
    whole = method._synthetic_label_sets(batch)
    with torch.no_grad():
        features = method.mentor.forward_features(batch.images)
    gathered = iter([features, batch.labels])
    half = slice(BATCH // 2, BATCH)
    monkeypatch.setattr(method.context, "gather_rows", lambda rows: next(gathered))
    monkeypatch.setattr(method.context, "my_rows", lambda rows: rows[half])
    part = SimpleNamespace(images=batch.images[half], labels=batch.labels[half], step=batch.step)
    assert torch.equal(method._synthetic_label_sets(part), whole[:, half])
    assert not torch.equal(whole[0], whole[1])  # each set has draws of its own


def test_synthetic_labels_by_hand():
    features = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    neighbours = nearest_neighbours(features, 2)
    assert neighbours.tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    drawn = SimpleNamespace(
        permutation=lambda n: np.array([3, 0, 1, 2]), integers=lambda k, size: np.array([1, 0, 1])[:size]
    )
    labels = torch.tensor([10, 11, 12, 13])
    # floor(0.6·4) = 2 samples: 3 takes its second neighbour's label (1), 0 its first one's (1).
    assert synthetic_labels(labels, neighbours, 0.6, drawn).tolist() == [11, 11, 12, 11]
    # Labels come from the given ones: 1 takes row 2's, although row 0, drawn before it, has changed.
    assert synthetic_labels(labels, neighbours, 0.75, drawn).tolist() == [11, 12, 12, 11]
    assert labels.tolist() == [10, 11, 12, 13]


def test_small_batches_clamp_the_number_of_neighbours():
    assert nearest_neighbours(torch.randn(3, 4), 10).shape == (3, 2)
    alone = nearest_neighbours(torch.randn(1, 4), 10)
    assert synthetic_labels(torch.tensor([5]), alone, 1.0, np.random.default_rng(0)).tolist() == [5]


def test_ema_moves_parameters_only():
    network = nn.BatchNorm1d(1)
    average = frozen_copy(network)
    with torch.no_grad():
        network.weight.fill_(3.0)
        network.running_mean.fill_(9.0)
    update_ema(average, network, 0.75)
    assert average.weight.item() == 1.5 and average.running_mean.item() == 0.0
    assert not average.weight.requires_grad and network.weight.requires_grad


# Meta-Weight-Net, L2R, L2B, MetaLabelNet


def ahead_of(loss, parameters, length):
    gradients = torch.autograd.grad(loss, list(parameters.values()), create_graph=True)
    return {n: w - length * g for (n, w), g in zip(parameters.items(), gradients, strict=True)}


def meta_loss(method, parameters, batch):
    return F.cross_entropy(logits_at(method.network, parameters, batch.meta_images), batch.meta_labels)


def test_meta_weight_net_moves_its_weight_network_by_the_double_backward():
    method, (batch, *_) = made("meta-weight-net", settings={})
    before, v_net = weights_of(method.network), weights_of(method.weight_network)
    gradients = gradients_of_steps(method.weight_optimizer)
    method.training_step(batch)
    losses = F.cross_entropy(logits_at(method.network, before, batch.images), batch.labels, reduction="none")
    weights = functional_call(method.weight_network, v_net, (losses.detach()[:, None],))[:, 0]
    ahead = ahead_of((weights * losses).sum() / BATCH, before, LR)
    expected = torch.autograd.grad(meta_loss(method, ahead, batch), list(v_net.values()), retain_graph=True)
    assert len(gradients) == 1
    assert_close(gradients[0], flat(expected))
    # The network's step uses the weights of the moved weight network, not normalised.
    with torch.no_grad():
        weights = method.weight_network(losses[:, None])[:, 0]
    gradient = flat(torch.autograd.grad((weights * losses).sum() / BATCH, list(before.values())))
    assert_close((flat(before.values()) - flat(method.network.parameters())) / LR, gradient)


def test_positive_shares_by_hand():
    context = SimpleNamespace(gather_rows=lambda rows: rows)
    assert positive_shares(torch.tensor([-1.0, 1.0, 3.0]), context).tolist() == [0.0, 0.25, 0.75]
    assert positive_shares(torch.tensor([[1.0, -2.0], [0.0, 1.0]]), context).tolist() == [[0.5, 0.0], [0.0, 0.5]]
    assert positive_shares(torch.tensor([-1.0, 0.0]), context).tolist() == [0.0, 0.0]
    # Another process holds a total of 12: shares are of the global batch.
    both = SimpleNamespace(gather_rows=lambda rows: torch.cat([rows, torch.tensor([12.0])]))
    assert positive_shares(torch.tensor([-1.0, 1.0, 3.0]), both).tolist() == [0.0, 1 / 16, 3 / 16]


def test_l2r_weighs_by_the_double_backward():
    method, (batch, *_) = made("l2r", settings={})
    before = weights_of(method.network)
    method.training_step(batch)
    losses = F.cross_entropy(logits_at(method.network, before, batch.images), batch.labels, reduction="none")
    eps = torch.zeros(BATCH, dtype=torch.float64, requires_grad=True)
    ahead = ahead_of((eps * losses).sum(), before, 1.0)
    slopes = torch.autograd.grad(meta_loss(method, ahead, batch), eps, retain_graph=True)[0]
    weights = (-slopes).clamp_min(0)
    assert 0 < int((weights == 0).sum()) < BATCH
    weights = weights / weights.sum()
    gradient = flat(torch.autograd.grad((weights * losses).sum(), list(before.values())))
    assert_close((flat(before.values()) - flat(method.network.parameters())) / LR, gradient)


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_l2b_weighs_both_labels_by_the_double_backward_through_the_real_step(clip):
    momentum, decay = 0.9, 1e-2
    method, batches = made(
        "l2b",
        settings={"warmup_epochs": 0, "clip_norm": clip},
        optimizer={"name": "sgd", "lr": LR, "momentum": momentum, "weight_decay": decay},
    )
    method.training_step(batches[0])
    buffers = [
        method.optimizer.state[parameter]["momentum_buffer"].clone() for parameter in method.network.parameters()
    ]
    before, batch = weights_of(method.network), batches[1]
    method.training_step(batch)

    logits = logits_at(method.network, before, batch.images)
    given = F.cross_entropy(logits, batch.labels, reduction="none")
    own = F.cross_entropy(logits, logits.argmax(1), reduction="none")
    losses = torch.stack([given, own])
    eps = torch.zeros(2, BATCH, dtype=torch.float64, requires_grad=True)
    gradients = torch.autograd.grad((eps * losses).sum(), list(before.values()), create_graph=True)
    ahead = {
        name: weight - LR * (momentum * buffer + gradient + decay * weight)
        for (name, weight), buffer, gradient in zip(before.items(), buffers, gradients, strict=True)
    }
    slopes = torch.autograd.grad(meta_loss(method, ahead, batch), eps, retain_graph=True)[0]
    weights = (-slopes).clamp_min(0)
    assert (weights > 0).any(1).all()
    weights = weights / weights.sum()
    gradient = flat(torch.autograd.grad((weights * losses).sum(), list(before.values())))
    if clip:
        assert gradient.norm() > clip
        gradient = gradient * clip / gradient.norm()
    step = momentum * flat(buffers) + gradient + decay * flat(before.values())
    # clip_grad_norm_ adds 1e-6 to the norm it divides by.
    assert_close((flat(before.values()) - flat(method.network.parameters())) / LR, step, 1e-9 if not clip else 1e-4)


@pytest.mark.parametrize("floor", [1e-10, 0.01])  # the authors', and one whose absence would be seen at any label
def test_metalabelnet_moves_its_label_layer_by_the_double_backward(floor):
    method, (batch, *_) = made("metalabelnet", settings={"warmup_epochs": 0, "label_floor": floor})
    method.start_epoch(0)
    before, layer = weights_of(method.network), weights_of(method.label_layer)
    gradients = gradients_of_steps(method.label_optimizer)
    method.training_step(batch)
    with torch.no_grad():
        features = method.encoder.forward_features(batch.images)
    y = functional_call(method.label_layer, layer, (features,)).softmax(1)
    p = logits_at(method.network, before, batch.images).softmax(1)
    ahead = ahead_of((p * (p.log() - (y + floor).log())).mean(), before, 1.0)
    expected = torch.autograd.grad(meta_loss(method, ahead, batch), list(layer.values()))
    assert len(gradients) == 1
    assert_close(gradients[0], flat(expected))
    # The network's step: the new labels, and the entropy term.
    with torch.no_grad():
        y = method.label_layer(features).softmax(1)
    p = logits_at(method.network, before, batch.images).softmax(1)
    loss = (p * (p.log() - (y + floor).log())).mean() - (p * p.log()).mean()
    gradient = flat(torch.autograd.grad(loss, list(before.values())))
    assert_close((flat(before.values()) - flat(method.network.parameters())) / LR, gradient)
    assert_close(method.context.store["soft_labels"][batch.index], y)


def test_metalabelnet_encoder_is_the_network_after_warm_up():
    method, batches = made("metalabelnet", settings={"warmup_epochs": 1})
    layer = flat(method.label_layer.parameters())
    method.start_epoch(0)
    method.training_step(batches[0])
    assert torch.equal(flat(method.label_layer.parameters()), layer)
    warm = flat(method.network.parameters())
    assert not torch.equal(flat(method.encoder.parameters()), warm)
    method.start_epoch(1)
    assert torch.equal(flat(method.encoder.parameters()), warm)
    method.set_mode(training=True)
    assert method.network.training and not method.encoder.training


SHORT = {
    "mlnt": {"warmup_epochs": 1, "iterations": 2, "label_sets": 2, "start_step": 1, "ramp_steps": 2},
    "l2r": {},
    "l2b": {"warmup_epochs": 1},
    "meta-weight-net": {},
    "metalabelnet": {"warmup_epochs": 1},
}


@pytest.mark.parametrize("method", SHORT)
def test_runs_are_deterministic_and_resume_exactly(tmp_path, method):
    changes = {"settings": SHORT[method], "epochs": 3, "limit_train": 108}
    whole = noisybench.run(config(method, output=tmp_path / "a", **changes))
    again = config(method, output=tmp_path / "b", **changes)
    noisybench.run(again)
    # Back to the end of the second epoch: with MLNT, before a second restart from fresh weights.
    folder = tmp_path / "b"
    (folder / "result.json").unlink()
    checkpoints(folder / "checkpoints")[-1].unlink()
    resumed = noisybench.run(again, resume=True)
    assert resumed.fingerprints.weights == whole.fingerprints.weights
    assert resumed.metrics == whole.metrics
    assert all(math.isfinite(value) for value in whole.curves["loss"])
    if method == "mlnt":
        assert set(whole.heads) == {"teacher", "student"}


def test_mlnt_counts_its_cost():
    """Forward 1, backward 2, teacher 1, features 1; M times g (2) and v (3); then the Hessian products: through one
    graph 4 each and 2 together, else 9 each."""
    counts = {"second": 5 + 5 * 3 + 4 * 3 + 2, "first": 5 + 5 * 3, "mean-label": 5 + 5 * 3 + 9}
    for order, expected in counts.items():
        assert mlnt(order=order)[0].forward_equivalents == expected
    assert mlnt(hessian="forward-over-reverse")[0].forward_equivalents == 5 + 5 * 3 + 9 * 3
    assert made("mlnt", settings={})[0].forward_equivalents == MLNT.forward_equivalents
