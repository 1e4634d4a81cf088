"""Sharpening, mixup, the ramp, and the mixture model over losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from two_network_parts import make_data, make_method

from noisybench.methods.co_teaching import CoTeaching
from noisybench.methods.loss_mixture import clean_probability, rescale
from noisybench.methods.mixmatch import linear_ramp, mixup, sharpen


def test_sharpening_is_the_normalised_power():
    rows = torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]], dtype=torch.float64)
    # Squares 0.25, 0.09, 0.04 over their sum 0.38.
    expected = torch.tensor([[25 / 38, 9 / 38, 4 / 38], [1.0, 0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(sharpen(rows, 0.5), expected)
    torch.testing.assert_close(sharpen(rows, 1.0), rows)


def test_sharpening_survives_powers_that_underflow():
    rows = torch.tensor([[0.5, 0.5, 0.0]])
    assert sharpen(rows, 1e-3).tolist() == [[0.5, 0.5, 0.0]]


@pytest.fixture
def context():
    return make_method(CoTeaching, *make_data()).context


def test_mixup_blends_with_a_partner_of_any_part_by_at_most_half(context):
    # Every sample's image is its number, its target the same number: the blend shows factor and partner.
    images = [torch.arange(5.0)[:, None], torch.arange(5.0, 8.0)[:, None]]
    factors, crossed = [], False
    for step in range(200):
        mixed, targets = mixup(context, images, images, 4.0, 0, step)
        assert [len(part) for part in mixed] == [5, 3]
        assert torch.equal(torch.cat(mixed), torch.cat(targets))
        generator = context.generator("mixup", 0, step)
        drawn = generator.beta(4.0, 4.0)
        factor, partners = max(drawn, 1 - drawn), torch.from_numpy(generator.permutation(8))
        own = torch.arange(8.0)
        torch.testing.assert_close(torch.cat(mixed)[:, 0], factor * own + (1 - factor) * partners)
        factors.append(factor)
        crossed |= bool((partners[:5] >= 5).any())
    assert min(factors) >= 0.5 and crossed
    # E max(λ, 1 − λ) for Beta(4, 4) is 1/2 + E|λ − 1/2| = 1/2 + 35/256.
    assert np.mean(factors) == pytest.approx(0.5 + 35 / 256, abs=0.02)


def test_mixup_is_a_function_of_its_key(context):
    images = [torch.arange(6.0)[:, None]]
    first, again, other = (mixup(context, images, images, 4.0, 3, step)[0][0] for step in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_ramp():
    assert [linear_ramp(position, 16) for position in (0, 4, 16, 30)] == [0.0, 0.25, 1.0, 1.0]
    assert linear_ramp(0, 0) == 1.0


def test_rescaling():
    torch.testing.assert_close(rescale(torch.tensor([2.0, 4.0, 3.0])), torch.tensor([0.0, 1.0, 0.5]))
    assert rescale(torch.full((3,), 2.0)).tolist() == [0.0, 0.0, 0.0]


def test_the_mixture_finds_a_planted_split():
    drawn = np.random.default_rng(0)
    wrong = drawn.random(2000) < 0.4
    losses = np.where(wrong, drawn.normal(0.7, 0.08, 2000), drawn.normal(0.2, 0.06, 2000)).clip(0, 1)
    clean = clean_probability(torch.from_numpy(losses))
    assert clean.dtype == torch.float64
    assert np.mean((clean.numpy() > 0.5) == ~wrong) > 0.99
    # Bayes' rule for the true mixture at a loss between the two; the fit adds 5e-4 to each variance.
    share, mean, variance = np.array([[0.6, 0.2, 0.06**2 + 5e-4], [0.4, 0.7, 0.08**2 + 5e-4]]).T
    for loss in (0.38, 0.42, 0.46):
        density = share * np.exp(-((loss - mean) ** 2) / (2 * variance)) / np.sqrt(variance)
        found = clean_probability(torch.tensor([*losses, loss], dtype=torch.float64))[-1]
        assert float(found) == pytest.approx(density[0] / density.sum(), abs=0.1)
    assert torch.equal(clean, clean_probability(torch.from_numpy(losses)))


def test_equal_losses_are_all_clean():
    assert clean_probability(torch.zeros(5)).tolist() == [1.0] * 5
