"""Co-teaching, co-teaching+ and JoCoR: single steps against losses and gradients worked out independently."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from two_network_parts import make_batch, make_data, make_method, weights_of

from noisybench.core.errors import UserError
from noisybench.methods.co_teaching import CoTeaching
from noisybench.methods.co_teaching_plus import CoTeachingPlus
from noisybench.methods.jocor import JoCoR, joint_losses
from noisybench.spec.values import OptimizerConfig

ADAM = OptimizerConfig(name="adam", lr=1e-3, momentum=0.9, weight_decay=0.0)


def probabilities(weight, images):
    return (images.flatten(1) @ weight.T).softmax(dim=1)


def cross_entropies(weight, images, labels):
    return -probabilities(weight, images)[torch.arange(len(labels)), labels].log()


def gradient(weight, images, labels, chosen):
    """dCE/dW of the mean over the chosen rows of a linear softmax classifier: mean of (p − e_y) xᵀ."""
    wrong = probabilities(weight, images) - F.one_hot(labels, len(weight))
    return (wrong[chosen].T @ images.flatten(1)[chosen]) / len(chosen)


def stepped(before, after):
    """The gradient that a plain SGD step of rate 1 took."""
    return [old - new for old, new in zip(before, after, strict=True)]


def smallest(values, count):
    return sorted(sorted(range(len(values)), key=lambda row: float(values[row]))[:count])


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


# Co-teaching+ ---------------------------------------------------------------------------------------------------------


def disagreed(before, images):
    first, second = (probabilities(weight, images).argmax(1) for weight in before)
    return [row for row in range(len(images)) if first[row] != second[row]]


def test_co_teaching_plus_exchanges_among_disagreed_samples_index_0_included():
    images, labels = make_data(12)
    method = make_method(CoTeachingPlus, images, labels, rate=0.5, init_epochs=0)
    before = weights_of(method)
    # Put a disagreed sample that both networks find easiest into row 0, where the released code would lose it.
    candidates = disagreed(before, images)
    total = sum(cross_entropies(weight, images, labels) for weight in before)
    easiest = min(candidates, key=lambda row: float(total[row]))
    order = torch.tensor([easiest] + [row for row in range(12) if row != easiest])
    images, labels = images[order], labels[order]
    candidates = disagreed(before, images)
    assert 0 in candidates and 2 <= len(candidates) < 12
    kept = len(candidates) // 2
    losses = [cross_entropies(weight, images, labels) for weight in before]
    choices = [[candidates[place] for place in smallest(each[candidates], kept)] for each in losses]
    assert 0 in choices[0] + choices[1]
    output = method.training_step(make_batch(images, labels))
    first, second = stepped(before, weights_of(method))
    torch.testing.assert_close(first, gradient(before[0], images, labels, choices[1]))
    torch.testing.assert_close(second, gradient(before[1], images, labels, choices[0]))
    assert float(output.logs["disagreement"]) == pytest.approx(len(candidates) / 12)


def test_co_teaching_plus_is_co_teaching_at_first():
    images, labels = make_data(12)
    plain = make_method(CoTeaching, images, labels, rate=0.5)
    plus = make_method(CoTeachingPlus, images, labels, rate=0.5, init_epochs=21)
    for method in (plain, plus):
        method.training_step(make_batch(images, labels, epoch=20))
    for expected, found in zip(weights_of(plain), weights_of(plus), strict=True):
        assert torch.equal(expected, found)


@pytest.mark.parametrize(("step", "trains"), [(4, True), (5, False)])
def test_co_teaching_plus_without_disagreement(step, trains):
    images, labels = make_data(12)
    method = make_method(CoTeachingPlus, images, labels, rate=0.5, init_epochs=0, agreement_steps=5)
    method.networks[1].load_state_dict(method.networks[0].state_dict())
    before = weights_of(method)
    method.training_step(make_batch(images, labels, step=step))
    everybody = gradient(before[0], images, labels, list(range(12)))
    for found in stepped(before, weights_of(method)):
        torch.testing.assert_close(found, everybody if trains else torch.zeros_like(everybody))


# JoCoR ----------------------------------------------------------------------------------------------------------------


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
