"""Small-loss selection and the forget-rate schedule, against values worked out by hand or printed in the literature."""

from __future__ import annotations

import math

import pytest
import torch

from noisybench.methods.small_loss import (
    forget_rate,
    forget_rate_exponent_on_tau,
    num_kept,
    small_loss_weights,
)


@pytest.mark.parametrize(
    ("tau", "expected"),
    [
        (0.2, [128, 125, 122, 119, 116, 113, 110, 108, 105, 102, 102, 102]),
        (0.45, [128, 121, 115, 108, 102, 96, 89, 83, 76, 70, 70, 70]),
        (0.5, [128, 120, 113, 106, 99, 92, 85, 78, 71, 64, 64, 64]),
    ],
)
def test_kept_of_128_as_in_the_released_schedule(tau, expected):
    assert [num_kept(forget_rate(epoch, tau, 10), 128) for epoch in range(12)] == expected


def test_the_exponent_acts_on_the_epoch():
    # (5/9)² · 0.4
    assert forget_rate(5, 0.4, 10, exponent=2.0) == pytest.approx(0.4 * 25 / 81)
    assert [forget_rate(epoch, 0.4, 10, exponent=2.0) for epoch in (0, 9, 10, 50)] == [0.0, 0.4, 0.4, 0.4]


def test_a_ramp_of_one_epoch_is_no_ramp():
    assert forget_rate(0, 0.3, 1) == 0.3


def test_the_exponent_on_tau_overshoots_then_jumps_back():
    rates = [forget_rate_exponent_on_tau(epoch, 0.2, 10, 0.2) for epoch in range(12)]
    assert rates[9] == pytest.approx(0.2**0.2) and rates[9] == pytest.approx(0.725, abs=1e-3)
    assert rates[3] == pytest.approx(0.2**0.2 / 3)
    assert rates[10] == rates[11] == 0.2
    assert num_kept(rates[9], 128) == 35


def test_number_kept_is_not_at_the_mercy_of_rounding():
    assert math.floor((1 - 0.9) * 10) == 0  # what plain floor gives
    assert num_kept(0.9, 10) == 1
    assert num_kept(0.0, 7) == 7
    assert num_kept(0.9, 5) == 5  # nothing would be kept: everything is


def test_weights_of_the_smallest_losses():
    losses = torch.tensor([0.5, 0.1, 0.9, 0.3, 0.7])
    assert small_loss_weights(losses, 0.5).tolist() == [0.0, 0.5, 0.0, 0.5, 0.0]
    third = pytest.approx(1 / 3)
    assert small_loss_weights(losses, 0.4).tolist() == [third, third, 0.0, third, 0.0]


def test_ties_keep_the_batchs_order_and_nan_comes_last():
    equal = torch.zeros(100)
    assert small_loss_weights(equal, 0.9).nonzero()[:, 0].tolist() == list(range(10))
    losses = torch.tensor([math.nan, 2.0, math.inf, 1.0])
    assert small_loss_weights(losses, 0.5).tolist() == [0.0, 0.5, 0.0, 0.5]
    assert small_loss_weights(losses, 0.25)[0] == 0


def test_only_candidates_are_chosen():
    losses = torch.tensor([0.4, 0.1, 0.3, 0.2])
    candidates = torch.tensor([True, False, True, False])
    assert small_loss_weights(losses, 0.5, candidates).tolist() == [0.0, 0.0, 1.0, 0.0]
    assert small_loss_weights(losses, 0.9, candidates).tolist() == [0.5, 0.0, 0.5, 0.0]
    assert small_loss_weights(losses, 0.5, torch.zeros(4, dtype=torch.bool)).tolist() == [0.0] * 4
