"""``--ruleset blind`` through the command line: the card's one setting for all noise is what the run really uses."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from noisybench.spec import registry

CARDS = {
    file.stem: tomllib.loads(file.read_text(encoding="utf-8"))
    for file in sorted((Path(__file__).parents[2] / "registry" / "methods").glob("*.toml"))
}
BLIND = [name for name, card in CARDS.items() if card.get("blind")]


def dry_run(cli, *arguments: str) -> dict:
    code, out, err = cli("run", "--dry-run", *arguments)
    assert code == 0, err
    return json.loads(out)


def flat(config: dict, prefix: str = "") -> dict:
    found = {}
    for name, value in config.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def test_there_are_cards_with_blind_settings():
    assert {"co-teaching", "dividemix", "elr", "joint"} <= set(BLIND)


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
@pytest.mark.parametrize("method", BLIND)
def test_a_dry_run_prints_the_blind_settings_and_nothing_else_changes(cli, method, dataset):
    paper = flat(dry_run(cli, "--method", method, "--dataset", dataset))
    blind = flat(dry_run(cli, "--method", method, "--dataset", dataset, "--ruleset", "blind"))
    assert blind == {**paper, "ruleset": "blind", **flat(CARDS[method]["blind"])}


def test_the_blind_settings_lie_over_every_recipe(cli, monkeypatch):
    """No shipped card's recipe says otherwise than its blind settings, so a card that does is made here."""
    card = registry.method_card("elr").model_copy(
        update={
            "recipes": {"digits": {"epochs": 5, "settings": {"beta": 0.1}}, "digits:authors": {"batch_size": 16}},
            "blind": {"epochs": 9, "batch_size": 32, "settings": {"beta": 0.4}},
        }
    )
    monkeypatch.setattr(registry, "method_card", lambda name: card)
    found = dry_run(cli, "--method", "elr", "--protocol", "authors")
    assert (found["epochs"], found["batch_size"], found["settings"]["beta"]) == (5, 16, 0.1)
    found = dry_run(cli, "--method", "elr", "--protocol", "authors", "--ruleset", "blind")
    assert (found["epochs"], found["batch_size"], found["settings"]["beta"]) == (9, 32, 0.4)


def test_what_is_given_wins_over_the_blind_settings(cli, tmp_path):
    file = tmp_path / "blind.toml"
    file.write_text('method = "dividemix"\nruleset = "blind"\nsettings = { threshold = 0.7 }\n')
    settings = dry_run(cli, "--config", str(file), "--set", "method.lambda_u=3.0")["settings"]
    assert (settings["threshold"], settings["lambda_u"]) == (0.7, 3.0)
    assert (settings["loss_history"], settings["confidence_penalty"]) == (1, False)  # the card's, as nobody said else


def test_a_blind_run_trains_with_the_blind_settings(cli, tmp_path):
    """To the last bit as one that is given them by hand, and not as one by the paper's settings."""
    small = ["--method", "co-teaching", "--model", "noisybench_mlp", "--limit-train", "300", "--epochs", "2"]
    small += ["--noise-rate", "0.5", "--set", "method.ramp_epochs=1"]
    records = {}
    for name, more in {
        "paper": [],
        "blind": ["--ruleset", "blind"],
        "by hand": ["--set", "method.forget_rate=0.2"],
    }.items():
        code, _, err = cli("run", *small, *more, "--output", tmp_path / name)
        assert code == 0, err
        records[name] = json.loads((tmp_path / name / "result.json").read_text())
    weights = {name: record["fingerprints"]["weights"] for name, record in records.items()}
    assert weights["blind"] == weights["by hand"] != weights["paper"]
    assert records["blind"]["config"]["ruleset"] == "blind" and records["paper"]["config"]["ruleset"] == "paper"
    assert records["blind"]["config"]["settings"] == records["by hand"]["config"]["settings"]
    assert records["blind"]["run_id"] not in (records["by hand"]["run_id"], records["paper"]["run_id"])
