"""Metrics and selection rules are defined once: who adds an entry sees it everywhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from records import make_record, sealed

import noisybench
from noisybench.core.errors import UserError
from noisybench.core.files import json_text
from noisybench.core.names import name_fault
from noisybench.leaderboard.page_data import page_data
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.store import open_board
from noisybench.leaderboard.validate import read_record
from noisybench.leaderboard.wandb import run_columns, run_rows
from noisybench.spec import metrics
from noisybench.spec.cards import BenchmarkCard
from noisybench.spec.metrics import METRICS, RULES, Metric, SelectionRule
from noisybench.spec.record import RunRecord, content_hash
from noisybench.spec.registry import benchmark_card

PACKAGE = Path(noisybench.__file__).parent


def test_every_name_is_written_once():
    """Names that are words of the language too (epoch, loss, learning_rate) are left out; of the rest none is spelled
    anywhere else in the product, in code or in the page's scripts."""
    names = [*RULES, *METRICS.keys() - {"epoch", "loss", "learning_rate"}]
    sources = [*PACKAGE.rglob("*.py"), *(PACKAGE / "leaderboard" / "page").iterdir()]
    text = {file.relative_to(PACKAGE): file.read_text(encoding="utf-8") for file in sources}
    found = {name: [str(file) for file, of in text.items() if re.search(rf"['\"`]{name}['\"`]", of)] for name in names}
    assert found == {
        name: [] if name in RULES else ["spec/metrics.py"] for name in names
    }  # a rule's is put together there


def test_names_and_titles_are_proper_and_differ():
    names = [*METRICS, *RULES]
    assert len(set(names)) == len(names) and not any(map(name_fault, names))
    assert not any(name.startswith(metrics.METHOD_LOGS) or "/" in name for name in names)
    titles = [metric.title for metric in METRICS.values()] + [rule.title for rule in RULES.values()]
    assert all(titles) and len(set(titles)) == len(titles)
    assert {rule.name for rule in RULES.values() if not rule.allowed} == {"oracle"}


@pytest.mark.parametrize(
    ("curve", "metric"),
    [
        ("test_accuracy", "test_accuracy"),
        ("clean_val_accuracy/second", "clean_val_accuracy"),
        ("memorised", "memorised"),
        ("memorised/second", None),  # not measured by head
        ("test_accuracy/", None),
        ("method/test_accuracy", None),
        ("epoch", None),
        ("meta_loss", None),
    ],
)
def test_which_metric_a_curve_is_of(curve, metric):
    assert metrics.metric_of(curve) is (None if metric is None else METRICS[metric])


SMALL = ("--method", "mslg", "--dataset", "synthetic", "--epochs", "3", "--set", "method.warmup_epochs=1")


@pytest.fixture
def added(monkeypatch):
    """Four metrics, each measured in another place, and a rule; by one entry each."""
    entries = [
        Metric("hesitation", "share of class 0", "steps", lambda p, given, true: (p == 0, None), short="hesitant"),
        Metric("test_error", "test error", "test", lambda p, labels: p.argmax(1) != labels, drawn=True),
        Metric(
            "test_sharpness", "inverse of the largest probability", "test", lambda p, labels: 1 / p.max(1).values,
            fraction=False, least=1, drawn=True, short="sharp",
        ),
        Metric(
            "labels_moved", "labels that were changed", "labels", lambda est, suspicion, given, true: sum(est != given),
            knows_truth=True, fraction=False, least=0, final=True, column="Labels\nmoved",
        ),
    ]  # fmt: skip
    for metric in entries:
        monkeypatch.setitem(METRICS, metric.name, metric)
    rule = SelectionRule("first", "first epoch", "test accuracy, first epoch", lambda of: of.test[0], note="Too early.")
    monkeypatch.setitem(RULES, rule.metric, rule)


def test_an_entry_is_enough_for_a_metric_and_for_a_rule(cli, tmp_path, added):
    code, out, err = cli("run", *SMALL, "--output", tmp_path / "run")
    assert code == 0, err
    record = RunRecord.load(tmp_path / "run" / "result.json")
    curves, moved = record.curves, record.metrics["labels_moved"]
    # The record: curves, the rule's metric, the last epoch's value.
    assert curves["test_error"] == [pytest.approx(1 - value) for value in curves["test_accuracy"]]
    assert all(0 <= value <= 1 for value in curves["hesitation"]) and all(v >= 1 for v in curves["test_sharpness"])
    assert moved == curves["labels_moved"][-1] and moved == round(moved) > 0
    assert record.metrics["test_accuracy_first"] == curves["test_accuracy"][0] == record.heads["network"][
        "test_accuracy_first"
    ]  # fmt: skip
    # The terminal: the lines of the epochs, and the table.
    line = next(line for line in out.splitlines() if line.startswith("epoch 3/3"))
    assert f"hesitant {100 * curves['hesitation'][-1]:.1f}" in line
    assert f"sharp {curves['test_sharpness'][-1]:.4f}" in line
    assert re.search(rf"labels that were changed +│ +{moved:.0f} │", out)
    assert re.search(rf"test accuracy, first epoch +│ +{100 * curves['test_accuracy'][0]:.2f} │", out)
    # Side by side.
    code, out, _ = cli("compare", tmp_path / "run", tmp_path / "run")
    assert code == 0 and re.search(rf"labels that were changed +│ +{moved:.0f} │ +{moved:.0f} │", out)
    # Validation: the record is right; a value out of range, or one that is not the curve's, is refused.
    assert read_record(json_text(record.content()), "x") == record
    for place, value, reason in (
        (("curves", "test_error", 1), 1.5, "curves.test_error is 1.5: a fraction lies in"),
        (("curves", "test_sharpness", 1), 0.5, "curves.test_sharpness is 0.5: it is at least 1"),
        (("metrics", "labels_moved"), moved + 1, "metrics.labels_moved"),
        (("metrics", "test_accuracy_first"), 0.0, "metrics.test_accuracy_first"),
    ):
        content = record.content()
        *parents, last = place
        inner = content
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
        content["sha256"] = content_hash(content)
        with pytest.raises(UserError, match=re.escape(reason)):
            read_record(json_text(content), "x")


def test_an_entry_is_enough_for_boards(cli, tmp_path, added):
    model = noisybench.resolve(noisybench.RunConfig(method="mslg", dataset="synthetic")).model
    card = tmp_path / "tiny.toml"
    card.write_text(
        'title = "Tiny"\ndatasets = ["synthetic"]\nnoises = ["symmetric"]\nnoise_rates = [0.4]\nmethods = ["mslg"]\n'
        f'epochs = 3\nmodel = "{model}"\nheadline = "test_accuracy_first"\n'
    )
    root = tmp_path / "boards"
    assert cli("run", *SMALL, "--output", tmp_path / "run")[0] == 0
    assert cli("leaderboard", "add", tmp_path / "run", "--board", card, "--root", root)[0] == 0
    code, out, err = cli("leaderboard", "show", card, "--root", root)
    assert code == 0 and "selection rule: first epoch" in out, err
    board = open_board(str(card), root)
    (record,) = board.records()
    data = page_data(Standings(board.card, [record]))
    assert {"id": "test_accuracy_first", "label": "first epoch", "note": "Too early."} in data["rules"]
    told = {metric["id"]: metric for metric in data["metrics"]}
    assert told["test_error"]["drawn"] and told["labels_moved"]["column"] == "Labels\nmoved"
    assert {"title": "test error", "fraction": True, "of": "test_error"} in data["plots"]["panels"]
    (run,) = data["runs"]
    assert run["curves"]["test_error"] == [round(10_000 * value) for value in record.curves["test_error"]]
    assert "hesitation" not in run["curves"]  # it is not drawn
    assert run["metrics"]["labels_moved"] == record.metrics["labels_moved"]
    assert json.loads(json.dumps(data["scopes"]["test_accuracy_first"]))[0]["rows"][0]["n"] == 1
    assert "test_accuracy_first" in run_columns()


def test_records_from_before_a_rule_stay_right_and_are_read_by_it(monkeypatch):
    old = make_record(accuracy=0.8)
    text = json_text(old.content())
    rule = SelectionRule("third", "third epoch", "test accuracy, third epoch", lambda of: of.test[2], later=True)
    monkeypatch.setitem(RULES, rule.metric, rule)
    assert read_record(text, "x") == old and rule.metric not in old.metrics
    standings = Standings(benchmark_card("digits-quick"), [old])
    (row,) = standings.rows
    third = old.curves["test_accuracy"][2]
    assert row.scores(standings.covered[0], rule.metric) == [third]
    assert standings.scope(standings.covered, rule.metric).scores[0].mean.value == third
    assert page_data(standings)["runs"][0]["metrics"][rule.metric] == third
    assert run_rows(standings)[0][run_columns().index(rule.metric)] == third
    content = old.content()
    del content["metrics"]["test_accuracy_last5"]  # a rule that was there is not left out
    with pytest.raises(UserError, match="test_accuracy_last5"):
        read_record(sealed(content), "x")


def test_a_board_is_not_headed_by_the_oracle():
    given = {"name": "b", "title": "b", "datasets": ["digits"], "noises": ["symmetric"], "methods": ["ce"]}
    for headline in ("test_accuracy_oracle", "test_accuracy", "last"):
        with pytest.raises(ValueError, match="is no rule to select by; known: test_accuracy_last, "):
            BenchmarkCard(**given, headline=headline)
    assert BenchmarkCard(**given).headline == "test_accuracy_last"
