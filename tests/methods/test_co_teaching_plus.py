"""Co-teaching+: the exchange among samples on which the networks disagree."""

from __future__ import annotations

import pytest
import torch
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

from noisybench.methods.co_teaching import CoTeaching
from noisybench.methods.co_teaching_plus import CoTeachingPlus


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
