"""What the context and the store offer beyond networks and steps: each against a computation of its own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_method import CLASSES, EVERYONE, gradient, small_batch, small_method, weights
from torch import nn

from noisybench.methods.ce import CrossEntropy
from noisybench.parallel.world import Share


def make_projector():
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def test_a_module_starts_from_the_key_of_its_purpose_alone():
    method = small_method(CrossEntropy)
    torch.manual_seed(1)
    first, state = method.context.make_module("projector", make_projector), torch.get_rng_state()
    torch.manual_seed(2)
    again, other = (method.context.make_module(purpose, make_projector) for purpose in ("projector", "predictor"))
    assert torch.equal(weights(first), weights(again)) and not torch.equal(weights(first), weights(other))
    assert weights(first).dtype == torch.float64
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


def test_a_part_starts_anew_in_place_and_goes_on_training():
    method = small_method(CrossEntropy)
    batch, layer = small_batch(method, EVERYONE), method.network[1]
    method.training_step(batch)
    before = [layer.weight, layer.bias]
    method.context.restart_parts(method.network, [layer], method.optimizer)
    fresh = method.context.initialise(1).double()
    assert torch.equal(weights(method.network), weights(fresh))
    assert method.optimizer.state[layer.weight]["momentum_buffer"].eq(0).all()
    assert layer.weight is before[0] and layer.bias is before[1]
    slope = gradient(method.network, F.cross_entropy(method.network(batch.images), batch.labels))
    method.training_step(batch)
    torch.testing.assert_close(weights(method.network), weights(fresh) - 0.1 * slope)


def test_only_the_part_is_restarted():
    method = small_method(CrossEntropy)
    network = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    method.context.initialise = lambda number: nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    kept = weights(network[0])
    changed = weights(network[1])
    method.context.restart_parts(network.double(), [network[1]])
    assert torch.equal(weights(network[0]).float(), kept) and not torch.equal(weights(network[1]).float(), changed)
    with pytest.raises(ValueError, match="this Linear is no part of the network"):
        method.context.restart_parts(network, [nn.Linear(3, 2)])


def test_what_comes_between_backward_and_step_is_stepped_on():
    method = small_method(CrossEntropy)
    batch = small_batch(method, EVERYONE)
    loss = F.cross_entropy(method.network(batch.images), batch.labels)
    slope, before = gradient(method.network, loss), weights(method.network)
    length = slope.norm().item() / 2
    method.before_step = lambda parameters: nn.utils.clip_grad_norm_(parameters, length)
    method.training_step(batch)
    torch.testing.assert_close(weights(method.network), before - 0.1 * slope / 2, rtol=1e-5, atol=1e-7)


def test_an_optimizer_of_its_own_rate_follows_the_run_in_proportion():
    method = small_method(CrossEntropy, lr=0.1)
    own = torch.optim.Adam(nn.Linear(2, 2).parameters(), lr=0.02)
    method.context.follow_schedule(own)
    assert own in method.context.scheduled
    assert own.param_groups[0]["lr_scale"] == pytest.approx(0.2)
    assert own.state_dict()["param_groups"][0]["lr_scale"] == pytest.approx(0.2)


def test_rows_of_the_store_descend_by_the_gradient_of_the_global_batch():
    method = small_method(CrossEntropy)
    store, index = method.context.store, torch.tensor([4, 9])
    start = torch.linspace(-1, 1, 12 * CLASSES, dtype=torch.float64).view(12, CLASSES)
    store.add("u", start)
    with method.context.world.computing(Share(0.25, 1.0, alone=False)):
        rows = store.trainable("u", index)
        rows.square().sum().backward()
        store.descend("u", index, rows, lr=0.5)
    expected = start.clone()
    expected[index] *= 1 - 0.5 * 0.25 * 2
    torch.testing.assert_close(store["u"], expected)
    with pytest.raises(ValueError, match="the rows of column 'u' have no gradient"):
        store.descend("u", index, store.trainable("u", index), lr=0.5)


def test_gathered_rows_have_the_gradient_that_the_average_over_processes_makes_whole():
    method = small_method(CrossEntropy)
    rows = torch.arange(6.0, dtype=torch.float64).view(3, 2).requires_grad_()
    with method.context.world.computing(Share(0.25, 1.0, alone=False)):
        gathered = method.context.gather_rows_with_gradient(rows)
    gathered.square().sum().backward()
    assert torch.equal(gathered, rows)
    torch.testing.assert_close(rows.grad, 4 * 2 * rows.detach())


def test_an_augmented_pass_over_all_has_draws_of_its_own():
    method = small_method(CrossEntropy)
    seen = []
    method.context._sweep.__self__._augment = lambda pixels, sample, occasion, strength: (
        seen.append(occasion) or 255 - pixels
    )
    plain, augmented = (
        method.context.full_pass(lambda images, index: images.flatten(1), occasion=occasion)
        for occasion in (None, (3, 1))
    )
    torch.testing.assert_close(augmented, -plain)  # normalised by 0.5 and 0.5
    assert seen == [(3, 1, -1)]
