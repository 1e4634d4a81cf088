"""Two settings of one method: how they are written, run, filed and shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from records import make_record

from noisybench.bench.plan import Selection, plan
from noisybench.core.errors import UserError
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.store import open_board
from noisybench.leaderboard.tables import board_tables
from noisybench.spec import registry
from noisybench.spec.layers import resolve_dict
from noisybench.spec.variants import parse_variant, split_methods, variant_name, variant_of

CARD = """
title = "Tiny"
datasets = ["synthetic"]
noises = ["symmetric"]
noise_rates = [0.4]
methods = ["ce", "gce", "gce[q=0.4]"]
seeds = 2
epochs = 2
"""


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("mslg", ("mslg", {})),
        ("mslg[kappa=0]", ("mslg", {"settings": {"kappa": 0}})),
        ("a.b:C[x=1.5, y = word,z=[1,2]]", ("a.b:C", {"settings": {"x": 1.5, "y": "word", "z": [1, 2]}})),
        ("m[method.epochs=3]", ("m", {"settings": {"epochs": 3}})),
        ("m[noise.rate=true]", ("m", {"settings": {"noise": {"rate": True}}})),
    ],
)
def test_how_it_is_written(text, parsed):
    assert parse_variant(text) == parsed


@pytest.mark.parametrize(
    "text", ["mslg[", "mslg[]", "mslg[kappa]", "mslg[kappa=]", "[kappa=0]", "mslg[kappa=0]x", "m[=1]"]
)
def test_how_it_is_not_written(text):
    with pytest.raises(UserError, match="write "):
        parse_variant(text)


def test_commas_within_brackets_part_nothing():
    assert split_methods("ce, mslg[kappa=0,inner_lr=1] ,a[x=[1,2]]") == ["ce", "mslg[kappa=0,inner_lr=1]", "a[x=[1,2]]"]


def test_names_are_read_back():
    name = variant_name("m", {"b": 0.5, "a": "word", "c.d": [1, 2], "e": True})
    assert name == "m[a=word,b=0.5,c.d=[1,2],e=true]"
    assert parse_variant(name)[1]["settings"] == {"a": "word", "b": 0.5, "c": {"d": [1, 2]}, "e": True}


def test_the_recipe_has_no_brackets_whatever_else_is_set():
    for method in ("mslg", "gce", "dividemix"):
        config = resolve_dict({"method": method, "dataset": "digits", "optimizer": {"lr": 0.3}}).model_dump(mode="json")
        assert variant_of(config, {}) == method
        config["settings"] = {**config["settings"], "no_such_setting": 1}
        assert variant_of(config, {}) == f"{method}[no_such_setting=1]"
    blind = resolve_dict({"method": "mslg", "dataset": "digits", "ruleset": "blind"}).model_dump(mode="json")
    assert variant_of(blind, {"ruleset": "blind"}) == "mslg"
    short = resolve_dict({"method": "mslg", "dataset": "cifar10", "track": "fast", "epochs": 4}).model_dump(mode="json")
    assert variant_of(short, {"track": "fast"}) == "mslg"
    assert variant_of(make_record("nobody-has-it", settings={"x": 1}).config, {}) == "nobody-has-it"


def test_a_suite_runs_both_and_the_board_keeps_them_apart(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(CARD)
    code, out, err = cli("bench", "run", "tiny.toml", "--methods", "gce,gce[q=0.4]", "--jobs", "1")
    assert code == 0, err + out
    board = open_board("tiny.toml", Path("leaderboards"))
    records = board.records()
    assert sorted(record.config["settings"]["q"] for record in records) == [0.4, 0.4, 0.7, 0.7]
    standings = Standings(board.card, records)
    assert [(row.method, len(row.all_runs)) for row in standings.rows] == [("gce", 2), ("gce[q=0.4]", 2)]
    (table,) = board_tables(standings, board.card.headline)
    assert {line[1] for line in table.rows} == {"gce", "gce[q=0.4]"}
    for row in standings.rows:  # each mean is over its own runs
        own = [record.metrics["test_accuracy_last"] for record in row.all_runs]
        scores = standings.scope(standings.covered, board.card.headline).scores
        assert scores[standings.rows.index(row)].mean.value == pytest.approx(sum(own) / 2)
    code, out, _ = cli("leaderboard", "show", "tiny.toml")
    assert code == 0 and "gce[q=0.4]" in out


def test_a_plan_names_them(tmp_path):
    card = registry.benchmark_card("digits-quick")
    suite = plan(card, tmp_path, None, Selection(1, ["mslg", "mslg[kappa=0]"]))
    assert [run.label.split(" · ")[0] for run in suite.runs[:2]] == ["mslg", "mslg[kappa=0]"]
    recipe = suite.runs[0].config.settings["kappa"]
    with pytest.raises(UserError, match="a run is named twice"):
        plan(card, tmp_path, None, Selection(1, ["mslg", f"mslg[kappa={recipe}]"]))
    with pytest.raises(UserError, match="kapa"):
        plan(card, tmp_path, None, Selection(1, ["mslg[kapa=0]"]))
