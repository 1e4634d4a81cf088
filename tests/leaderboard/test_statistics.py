"""A board's numbers against values computed another way."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from records import make_board, make_record
from scipy import stats

from noisybench.leaderboard import statistics
from noisybench.leaderboard.cells import Cell, board_cells, expand
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.tables import board_tables, claims_table
from noisybench.spec import registry

RULE = "test_accuracy_last"


def draws(*shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(0.8, 0.05, shape)


def test_spread_is_the_sample_standard_deviation():
    assert statistics.spread(np.array([0.7, 0.8, 0.9])) == pytest.approx(0.1)
    assert statistics.spread(np.array([0.7])) is None


def test_a_paired_difference_in_one_cell_is_the_paired_t_interval():
    scores = draws(2, 6)
    found = statistics.paired_differences([scores]).of(0, 1)
    expected = stats.ttest_rel(scores[0], scores[1]).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert found.value == pytest.approx(scores[0].mean() - scores[1].mean())


def test_a_paired_difference_over_cells_by_hand():
    """Differences (.1, .3) and (.2, .2, .5): means .2 and .3, s²/n = .02/2 and .03/3, so var = .02/4 and by
    Welch-Satterthwaite .02² / (.01²/1 + .01²/2) = 8/3 degrees of freedom."""
    first, second = np.array([[0.6, 0.8], [0.5, 0.5]]), np.array([[0.7, 0.7, 1.0], [0.5, 0.5, 0.5]])
    found = statistics.paired_differences([first, second])
    half = stats.t.ppf(0.975, 8 / 3) * np.sqrt(0.02) / 2
    assert found.of(0, 1).value == pytest.approx(0.25)
    assert found.of(0, 1).low == pytest.approx(0.25 - half)
    assert found.of(1, 0).high == pytest.approx(-0.25 + half)
    assert found.pairs[0, 1] == 5


def test_only_pairs_count():
    gap = np.nan
    scores = np.array([[0.9, 0.8, gap, 0.7], [0.5, 0.6, 0.9, gap], [gap, gap, 0.4, 0.4]])
    found = statistics.paired_differences([scores])
    assert found.pairs.tolist() == [[3, 2, 1], [2, 3, 1], [1, 1, 2]]
    assert found.of(0, 1).value == pytest.approx((0.4 + 0.2) / 2)
    assert found.of(0, 2).low is None  # one pair says nothing of the spread
    nothing = statistics.paired_differences([np.array([[0.9, gap], [gap, 0.1]])])
    assert nothing.of(0, 1) is None
    assert not nothing.better().any()


def test_equal_differences_have_a_point_as_interval():
    found = statistics.paired_differences([np.array([[0.9, 0.8], [0.5, 0.4], [0.5, 0.4]])])
    assert found.of(0, 1).low == pytest.approx(0.4)
    assert found.of(1, 2).value == found.of(1, 2).low == 0
    assert found.better().tolist() == [[False, True, True], [False, False, False], [False, False, False]]


def test_probability_of_improvement_by_counting():
    x, y = np.array([0.5, 0.7, 0.9]), np.array([0.5, 0.6])
    wins = [1.0 if a > b else 0.5 if a == b else 0.0 for a, b in itertools.product(x, y)]
    assert statistics.probability_of_improvement([(x, y)]) == pytest.approx(np.mean(wins))
    assert np.mean(wins) == pytest.approx(stats.mannwhitneyu(x, y).statistic / 6)
    assert statistics.probability_of_improvement([(x, y), (y, y)]) == pytest.approx((np.mean(wins) + 0.5) / 2)


def test_interquartile_mean_by_hand():
    cells = [np.array([[1.0, 8.0, 3.0, 4.0]]), np.array([[5.0, 6.0, 7.0, 2.0]])]
    (found,) = statistics.interquartile_mean(cells, "x")
    assert found.value == pytest.approx((3 + 4 + 5 + 6) / 4)
    assert statistics.interquartile_mean([cells[0], cells[1][:, :3]], "x") is None


def test_the_bootstrap_is_stratified():
    """Every resample of two cells of three runs, enumerated: 27 x 27 equally likely means."""
    cells = [np.array([0.1, 0.2, 0.4]), np.array([0.7, 0.75, 0.9])]
    means = [[np.mean(drawn) for drawn in itertools.product(cell, repeat=3)] for cell in cells]
    all_means = np.sort([(a + b) / 2 for a, b in itertools.product(*means)])
    stacked = [np.stack([cell, 1 - cell]) for cell in cells]
    found, mirrored = statistics.mean_over_cells(stacked, "x")
    assert found.value == pytest.approx(np.mean([np.mean(cell) for cell in cells]))
    assert np.quantile(all_means, 0.015) <= found.low <= np.quantile(all_means, 0.035)
    assert np.quantile(all_means, 0.965) <= found.high <= np.quantile(all_means, 0.985)
    assert mirrored.low == pytest.approx(1 - found.high)  # the same draws
    assert statistics.mean_over_cells([cell[None] for cell in cells], "x") == [found]
    assert statistics.mean_over_cells([np.array([[0.5]])], "x") == [statistics.Interval(0.5)]


def test_difference_to_a_published_number():
    scores = draws(5)
    expected = stats.ttest_1samp(scores, 0.75).confidence_interval(0.95)
    found = statistics.difference_to(scores, 0.75)
    assert (found.low + 0.75, found.high + 0.75) == pytest.approx((expected.low, expected.high))


def test_ranks_with_ties():
    """a ties b, b ties c, a beats c; d is beaten by all: 1, 1, 2, 4."""
    better = np.zeros((4, 4), dtype=bool)
    better[0, 2] = better[:3, 3] = True
    assert statistics.ranks(better) == [1, 1, 2, 4]
    assert statistics.ties([0, 1, 2, 3], better) == [[0, 1], [1, 2]]
    assert statistics.ties([0, 1], np.zeros((2, 2), dtype=bool)) == [[0, 1]]
    assert statistics.mean_ranks([np.array([0.9, 0.8, 0.8]), np.array([0.1, 0.3, 0.2])]).tolist() == [2.0, 1.75, 2.25]


def planted(accuracies: dict[str, dict[float, list[float]]], **changes) -> Standings:
    card = registry.benchmark_card("digits-quick")
    records = [
        make_record(method, noise_rate=rate, seed=seed, accuracy=value, **changes.get(method, {}))
        for method, rates in accuracies.items()
        for rate, values in rates.items()
        for seed, value in enumerate(values)
    ]
    return Standings(card, records)


def test_planted_ties_and_winners():
    rates = (0.2, 0.4, 0.6)
    standings = planted(
        {
            "ce": dict.fromkeys(rates, [0.60, 0.62, 0.64]),
            "a": dict.fromkeys(rates, [0.80, 0.82, 0.84]),
            "b": dict.fromkeys(rates, [0.81, 0.81, 0.84]),
        }
    )
    scope = standings.scope(standings.covered, RULE)
    by_name = {standings.rows[number].method: score for number, score in scope.scores.items()}
    assert {name: score.rank for name, score in by_name.items()} == {"a": 1, "b": 1, "ce": 3}
    assert by_name["a"].difference.value == pytest.approx(0.2)
    assert by_name["a"].pairs == 9
    assert by_name["a"].improvement == 1.0
    assert by_name["ce"].difference is None
    names = [[standings.rows[number].method for number in group] for group in scope.ties]
    assert names == [["a", "b"]]


def test_a_missing_cell_is_never_averaged_over():
    standings = planted({"ce": {0.2: [0.9, 0.8], 0.4: [0.7, 0.6]}, "a": {0.4: [0.9, 0.8]}})
    assert [cell.noise_rate for cell in standings.covered] == [0.2, 0.4]
    assert [cell.noise_rate for cell in standings.empty] == [0.6]
    numbers = {row.method: number for number, row in enumerate(standings.rows)}
    overall = standings.scope(standings.covered, RULE)
    assert set(overall.scores) == {numbers["ce"]}
    assert overall.scores[numbers["ce"]].mean.value == pytest.approx(0.75)
    assert standings.missing(standings.rows[numbers["a"]]) == [standings.cells[0]]
    (table,) = board_tables(standings, RULE)
    assert table.rows[1] == ["–", "a", "cells missing", "–", "–", "–", "missing", "85.00 ± 7.07 (2)"]


def test_other_noise_is_no_pair():
    standings = planted({"ce": {0.4: [0.5, 0.6]}, "a": {0.4: [0.8, 0.9]}})
    changed = [
        record.model_copy(update={"fingerprints": record.fingerprints.model_copy(update={"noise": "0" * 64})})
        if record.config["method"] == "a" and record.config["seed"] == 1
        else record
        for record in standings.records
    ]
    other = Standings(standings.card, changed)
    number = next(number for number, row in enumerate(other.rows) if row.method == "a")
    score = other.scope(other.covered, RULE).scores[number]
    assert score.pairs == 1
    assert score.difference.value == pytest.approx(0.3)
    assert score.difference.low is None


def test_rows_of_unequal_information_are_ranked_apart():
    standings = planted({"ce": {0.4: [0.5, 0.6, 0.7]}, "mslg": {0.4: [0.8, 0.9, 1.0]}}, mslg={"clean_labels": 100})
    scope = standings.scope(standings.covered, RULE)
    assert {score.rank for score in scope.scores.values()} == {1}
    assert [table.title for table in board_tables(standings, RULE)] == [
        "No clean labels · trained from scratch",
        "100 clean labels · trained from scratch",
    ]
    assert sorted(scope.mean_ranks.values()) == [1.0, 2.0]


def test_claims_stand_beside_results():
    card = registry.benchmark_card("mslg-cifar10")
    records = [
        make_record("mslg", noise_rate=0.8, seed=seed, accuracy=value, dataset="cifar10", model="noisybench_cnn8")
        for seed, value in enumerate((0.55, 0.57, 0.59))
    ]
    table = claims_table(Standings(card, records), RULE)
    half = 100 * stats.t.ppf(0.975, 2) * 0.02 / np.sqrt(3)
    assert table.rows[0][:4] == [
        "mslg",
        "cifar10 · symmetric 80 %",
        "56.26",
        f"+0.74 [{0.74 - half:+.2f}, {0.74 + half:+.2f}]",
    ]
    assert claims_table(Standings(registry.benchmark_card("digits-quick"), make_board(seeds=1)), RULE) is None


def test_expansion_is_the_whole_grid():
    card = registry.benchmark_card("mslg-cifar10")
    runs = expand(card, seeds=2)
    assert len(runs) == len(card.methods) * 8 * 2
    assert len({repr(sorted(run.items())) for run in runs}) == len(runs)
    assert {run["seed"] for run in runs[: len(runs) // 2]} == {0}
    assert runs[0] == {
        "method": "ce", "dataset": "cifar10", "noise": "symmetric", "noise_rate": 0.2, "seed": 0,
        "protocol": "sealed", "ruleset": "paper", "track": "standard", "model": "noisybench_cnn8",
    }  # fmt: skip
    assert expand(card, seeds=1, methods=["x"])[0]["method"] == "x"


def test_noise_without_a_rate_has_one_cell_and_gives_none():
    card = registry.benchmark_card("clothing1m")
    assert board_cells(card) == [Cell("clothing1m", "none", None)]
    assert board_cells(card)[0].label == "clothing1m · as shipped"
    run = expand(card)[0]
    assert "noise_rate" not in run
    assert (run["pretrained"], run["epochs"]) == (True, 10)
