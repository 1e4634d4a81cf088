"""Every number that the page holds of a run, a row and a cell, against the records it was made of."""

from __future__ import annotations

import json

import numpy as np
import pytest
from records import make_record

from noisybench.leaderboard.html import board_html
from noisybench.leaderboard.standings import Standings
from noisybench.spec import registry

RULES = ["last", "last5", "best_noisy_val", "best_clean_val", "oracle"]


def different(record, place: int):
    """The record with numbers that no other number of it equals."""
    cost = {
        "wall_seconds": 100.25 + place,
        "train_seconds": 60.5 + place,
        "samples_per_second": 777.0 + place,
        "peak_memory_bytes": (300 + place) * 1_000_000,
        "forward_equivalents_per_step": 4.5,
    }
    noise = {**record.noise, "achieved_rate": 0.25 + place / 100, "achieved_rate_train_set": 0.31 + place / 100}
    updates = {"cost": record.cost.model_copy(update=cost), "noise": noise, "git_commit": f"commit{place}"}
    return record.model_copy(update=updates)


@pytest.fixture(scope="module")
def board():
    records = [
        different(make_record(method, noise_rate=rate, seed=seed, accuracy=accuracy + seed / 50, epochs=6), place)
        for place, (method, accuracy, rate, seed) in enumerate(
            (method, accuracy, rate, seed)
            for method, accuracy in (("ce", 0.5), ("elr", 0.7))
            for rate in (0.2, 0.4)
            for seed in (0, 1, 2)
        )
    ]
    page = board_html(Standings(registry.benchmark_card("digits-quick"), records))
    return records, json.loads(page.split('id="data">')[1].split("</script>")[0])


def test_the_numbers_of_each_run(board):
    records, data = board
    assert len(data["runs"]) == len(records)
    for record in records:
        (run,) = (run for run in data["runs"] if run["id"] == record.run_id)
        cell = data["cells"][run["cell"]]
        assert data["rows"][run["row"]]["method"] == record.config["method"]
        assert (cell["dataset"], cell["noise"], cell["rate"]) == ("digits", "symmetric", record.config["noise_rate"])
        assert (run["seed"], run["epochs"], run["commit"]) == (record.config["seed"], 6, record.git_commit)
        assert run["achieved"] == pytest.approx(record.noise["achieved_rate_train_set"])
        assert run["seconds"] == pytest.approx(record.cost.train_seconds)
        assert run["speed"] == record.cost.samples_per_second
        assert run["megabytes"] == record.cost.peak_memory_bytes / 1e6
        assert run["metrics"] == pytest.approx(record.metrics, abs=1e-6)
        prints = {name: data["hashes"][place] for name, place in run["prints"].items()}
        assert prints == record.fingerprints.model_dump()
        for name, curve in run["curves"].items():
            assert curve == [round(data["unit"] * value) for value in record.curves[name]]


def test_the_numbers_of_each_row_and_cell(board):
    records, data = board
    for row in data["rows"]:
        own = [record.cost for record in records if record.config["method"] == row["method"]]
        assert row["seconds"] == pytest.approx(np.mean([cost.train_seconds for cost in own]), abs=0.01)
        assert row["megabytes"] == max(cost.peak_memory_bytes for cost in own) / 1e6
        assert (row["forwards"], row["clean"], row["devices"]) == (4.5, 0, ["cpu"])
    for cell in data["cells"]:
        rates = [r.noise["achieved_rate"] for r in records if r.config["noise_rate"] == cell["rate"]]
        assert cell["achieved"] == pytest.approx(np.mean(rates), abs=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_the_standings_of_each_rule_and_scope(board, rule):
    """Means, deviations and counts by plain averages: over all cells, then in each one."""
    records, data = board
    scopes = [[0.2, 0.4], [0.2], [0.4]]
    assert [cell["rate"] for cell in data["cells"]] == [0.2, 0.4]
    for rates, scope in zip(scopes, data["scopes"][f"test_accuracy_{rule}"], strict=True):
        values = {
            method: [
                [
                    record.metrics[f"test_accuracy_{rule}"]
                    for record in records
                    if record.config["method"] == method and record.config["noise_rate"] == rate
                ]
                for rate in rates
            ]
            for method in ("ce", "elr")
        }
        for row, found in zip(data["rows"], scope["rows"], strict=True):
            own = values[row["method"]]
            assert found["mean"][0] == pytest.approx(np.mean(own), abs=1e-6)
            assert found["n"] == 3 * len(rates)
            assert found["sd"] == (pytest.approx(np.std(own[0], ddof=1), abs=1e-6) if len(rates) == 1 else None)
            if row["method"] == "elr":
                assert found["diff"][0] == pytest.approx(np.mean(own) - np.mean(values["ce"]), abs=1e-6)
                assert found["pairs"] == 3 * len(rates)
