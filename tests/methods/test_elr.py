"""ELR: targets are running means of predictions, and the loss pulls towards them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_method import CLASSES, EVERYONE, gradient, log_p, small_batch, small_method, weights

from noisybench.methods.elr import ELR


def test_elr_targets_are_running_means_of_predictions():
    method = small_method(ELR, beta=0.7, regularizer_weight=3.0)
    batch = small_batch(method, [3, 8])
    seen = []
    for _ in range(2):
        logs = log_p(method, batch)
        p = logs.exp()
        seen.append(p.detach())
        target = 0.3 * seen[0] if len(seen) == 1 else 0.21 * seen[0] + 0.3 * seen[1]
        agreement = (target * p).sum(1)
        expected = F.nll_loss(logs, batch.labels) + 3.0 * (1 - agreement).log().mean()
        slope, before = gradient(method.network, expected), weights(method.network)
        method.optimizer.state.clear()  # so that a step is the gradient's alone
        output = method.training_step(batch)
        assert output.loss.item() == pytest.approx(expected.item())
        torch.testing.assert_close(weights(method.network), before - 0.1 * slope)
        torch.testing.assert_close(method.context.store["targets"][[3, 8]], target)
    others = [row for row in EVERYONE if row not in (3, 8)]
    assert method.context.store["targets"][others].eq(0).all()

    estimate = method.estimate_labels().soft_labels
    torch.testing.assert_close(estimate[[3, 8]], (target / 0.51).float())
    given = F.one_hot(method.context.given_labels, CLASSES).float()
    assert torch.equal(estimate[others], given[others])


def test_elr_targets_are_clipped_and_renormalised():
    method = small_method(ELR, beta=0.5)
    with torch.no_grad():
        method.network[1].weight.zero_()
        method.network[1].bias.copy_(torch.tensor([100.0, 0.0, 0.0, 0.0]))
    method.training_step(small_batch(method, [0]))
    total = (1 - 1e-4) + 3e-4
    expected = 0.5 * torch.tensor([1 - 1e-4, 1e-4, 1e-4, 1e-4], dtype=torch.float64) / total
    torch.testing.assert_close(method.context.store["targets"][0], expected)
