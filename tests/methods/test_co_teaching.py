"""Co-teaching, and what all small-loss selection shares: single steps against gradients worked out independently."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from two_network_parts import (
    cross_entropies,
    gradient,
    make_batch,
    make_data,
    make_method,
    probabilities,
    smallest,
    stepped,
    weights_of,
)

from noisybench.core.errors import UserError
from noisybench.methods.co_teaching import CoTeaching
from noisybench.spec.values import OptimizerConfig

ADAM = OptimizerConfig(name="adam", lr=1e-3, momentum=0.9, weight_decay=0.0)


def test_each_network_learns_from_the_others_choice_alone():
    images, labels = make_data(12)
    method = make_method(CoTeaching, images, labels, rate=0.5)
    before = weights_of(method)
    choices = [smallest(cross_entropies(weight, images, labels), 6) for weight in before]
    assert choices[0] != choices[1]
    output = method.training_step(make_batch(images, labels))
    first, second = stepped(before, weights_of(method))
    torch.testing.assert_close(first, gradient(before[0], images, labels, choices[1]))
    torch.testing.assert_close(second, gradient(before[1], images, labels, choices[0]))
    assert output.logs["kept_fraction"] == 0.5
    means = [
        cross_entropies(weight, images, labels)[choice].mean()
        for weight, choice in zip(before, choices[::-1], strict=True)
    ]
    torch.testing.assert_close(output.loss, torch.stack(means).mean())


def test_the_forget_rate_follows_the_noise_unless_given():
    images, labels = make_data()
    assert make_method(CoTeaching, images, labels, rate=0.4).forget_rate(9) == 0.4
    assert make_method(CoTeaching, images, labels, rate=0.4, noise="asymmetric").forget_rate(9) == 0.2
    assert make_method(CoTeaching, images, labels, rate=0.4, forget_rate=0.1).forget_rate(9) == 0.1


def test_beta1_changes_with_the_epoch_alone():
    images, labels = make_data()
    method = make_method(CoTeaching, images, labels, optimizer=ADAM, beta1_switch_epoch=3)
    found = {}
    for epoch in (2, 3, 30, 0):
        method.start_epoch(epoch)
        found[epoch] = [group["betas"] for optimizer in method.optimizers for group in optimizer.param_groups]
    assert found[2] == found[0] == [(0.9, 0.999)] * 2
    assert found[3] == found[30] == [(0.1, 0.999)] * 2


def test_a_beta1_switch_without_adam_is_refused():
    images, labels = make_data()
    with pytest.raises(UserError, match="beta1_switch_epoch.*optimizer.name=adam"):
        make_method(CoTeaching, images, labels, beta1_switch_epoch=3)


def test_the_mslg_authors_variant_ranks_by_a_second_softmax():
    images, labels = make_data(400)
    method = make_method(CoTeaching, images, labels, variant="mslg-baseline", forget_rate=0.2, ramp_exponent=0.2)
    before = weights_of(method)
    kept = math.floor((1 - 0.2**0.2) * 400)
    choices = [
        smallest(F.cross_entropy(probabilities(weight, images), labels, reduction="none"), kept) for weight in before
    ]
    published = [smallest(cross_entropies(weight, images, labels), kept) for weight in before]
    assert choices != published
    method.training_step(make_batch(images, labels, epoch=9))
    first, second = stepped(before, weights_of(method))
    torch.testing.assert_close(first, gradient(before[0], images, labels, choices[1]))
    torch.testing.assert_close(second, gradient(before[1], images, labels, choices[0]))
    assert all(network.training for network in method.networks)


def test_estimated_labels_are_the_mean_prediction_as_last_seen():
    images, labels = make_data(6)
    method = make_method(CoTeaching, images, labels)
    expected = sum(probabilities(weight, images) for weight in weights_of(method)) / 2
    method.training_step(make_batch(images, labels, index=torch.tensor([4, 1])))
    estimate = method.estimate_labels()
    torch.testing.assert_close(estimate.soft_labels[[4, 1]], expected[[4, 1]])
    torch.testing.assert_close(estimate.soft_labels[0], torch.full((3,), 1 / 3, dtype=torch.float64))
    torch.testing.assert_close(estimate.suspicion[4], 1 - expected[4, labels[4]])


def test_the_ensemble_head_is_the_mean_probability():
    images, labels = make_data()
    method = make_method(CoTeaching, images, labels)
    each = [probabilities(weight, images) for weight in weights_of(method)]
    torch.testing.assert_close(method.predict(images, "network1"), each[0])
    torch.testing.assert_close(method.predict(images, "network2"), each[1])
    torch.testing.assert_close(method.predict(images, "ensemble"), (each[0] + each[1]) / 2)
    assert method.heads[0] == "ensemble"
