"""Which runs are compared: equal seed, images, noise and split; and a baseline that started from equal weights."""

from __future__ import annotations

import pytest
from records import make_record

from noisybench.leaderboard.standings import Standings
from noisybench.spec import registry

RULE = "test_accuracy_last"


def standings(records) -> Standings:
    return Standings(registry.benchmark_card("digits-quick"), records)


def score_of(board: Standings, method: str, **used):
    scope = board.scope(board.covered, RULE)
    (number,) = (
        number
        for number, row in enumerate(board.rows)
        if row.method == method and all(getattr(row.used, name) == value for name, value in used.items())
    )
    return scope.scores[number]


def runs(method: str, accuracies, **changes):
    return [make_record(method, seed=seed, accuracy=value, **changes) for seed, value in enumerate(accuracies)]


def test_equal_conditions_pair():
    score = score_of(standings(runs("ce", (0.5, 0.6, 0.7)) + runs("elr", (0.8, 0.9, 1.0))), "elr")
    assert (score.pairs, score.difference.value) == (3, pytest.approx(0.3))


@pytest.mark.parametrize("name", ["dataset", "noise", "split"])
def test_a_run_on_other_images_noise_or_split_is_no_pair(name):
    """Its accuracy still counts in the mean; the difference is over the other two seeds."""
    others = runs("elr", (0.8, 0.8, 0.2))
    prints = others[2].fingerprints.model_copy(update={name: "0" * 64})
    others[2] = others[2].model_copy(update={"fingerprints": prints})
    score = score_of(standings(runs("ce", (0.5, 0.6, 0.7)) + others), "elr")
    assert (score.pairs, score.runs) == (2, 3)
    assert score.difference.value == pytest.approx(0.25)
    assert score.mean.value == pytest.approx(0.6)


def test_another_seed_is_no_pair():
    others = [make_record("elr", seed=seed, accuracy=0.9) for seed in (2, 3, 4)]
    score = score_of(standings(runs("ce", (0.5, 0.6, 0.7)) + others), "elr")
    assert (score.pairs, score.difference.value) == (1, pytest.approx(0.2))


def test_other_weights_pair():
    """The final weights differ between any two runs: they are no condition."""
    ours, theirs = runs("elr", (0.8, 0.9, 1.0)), runs("ce", (0.5, 0.6, 0.7))
    assert {r.fingerprints.weights for r in ours}.isdisjoint(r.fingerprints.weights for r in theirs)
    assert score_of(standings(theirs + ours), "elr").pairs == 3


def test_the_baseline_started_from_weights_of_the_same_kind():
    """A pretrained run is compared with the pretrained baseline, else with none."""
    scratch, ours = runs("ce", (0.3, 0.3, 0.3)), runs("elr", (0.8, 0.8, 0.8), pretrained=True)
    assert score_of(standings(scratch + ours), "elr").difference is None
    pretrained = runs("ce", (0.7, 0.7, 0.7), pretrained=True)
    board = standings(scratch + pretrained + ours)
    assert score_of(board, "elr").difference.value == pytest.approx(0.1)
    assert score_of(board, "ce", pretrained_weights=True).difference is None
    ours_too = runs("gce", (0.5, 0.5, 0.5))
    assert score_of(standings(scratch + pretrained + ours_too), "gce").difference.value == pytest.approx(0.2)
