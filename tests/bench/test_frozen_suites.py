"""Boards of frozen runs: what their cards say, what their suites run, and which records they take."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from records import make_record

from noisybench.core.errors import UserError
from noisybench.leaderboard.cells import expand
from noisybench.leaderboard.markdown import board_markdown
from noisybench.leaderboard.page_data import page_data
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.store import open_board
from noisybench.leaderboard.tables import board_facts
from noisybench.leaderboard.validate import misfit
from noisybench.spec import registry
from noisybench.spec.cards import BenchmarkCard

HASH = "8188b294d296e2f0df6fc5a50a5c989967f176e7039ce8af4f50fa76177db9f5"
SMALL = """
title = "Small, frozen"
datasets = ["{dataset}"]
noises = ["human-aggregate", "human-worse"]
methods = ["ce"]
seeds = 1
model = "noisybench_cnn4"
epochs = 2
overrides = {{ frozen = true, pretrained = false, meta_size = 40, noisy_val_size = 20, clean_val_size = 20, \
head = "mlp:8", features = {{ input_size = 32 }} }}
images = "A stand-in."
"""


@pytest.fixture
def labels(cifar_like, tmp_path) -> Path:
    """Labels of two sets: every fifth and every second one moved to the next class."""
    clean = np.array(pyarrow.parquet.read_table(cifar_like / "train-00000-of-00001.parquet")["label"].to_pylist())
    numbers = np.arange(len(clean))
    file = tmp_path / "labels.npz"
    moved = {name: np.where(numbers % every == 0, (clean + 1) % 10, clean) for name, every in SETS.items()}
    np.savez(file, clean_label=clean, **moved)
    return file


SETS = {"aggre_label": 5, "worse_label": 2}


def test_one_file_serves_every_noise_that_reads_one(cli, tmp_path, monkeypatch, cifar_like, small_set, labels):
    monkeypatch.chdir(tmp_path)
    card = tmp_path / "small-frozen.toml"
    card.write_text(SMALL.format(dataset=small_set("cifar10n")))
    files = ("--data-path", cifar_like, "--noise-file", labels)
    code, out, err = cli("bench", "plan", card, *files, "--slurm", "job.sh")
    assert (code, err) == (0, "") and "human-worse" in out
    assert f"--noise-file {labels}" in Path("job.sh").read_text()
    code, out, err = cli("bench", "run", card, *files, "--jobs", "1")
    assert code == 0, err + out
    board = open_board(str(card), Path("leaderboards"))
    records = {record.config["noise"]: record for record in board.records()}
    assert {noise: record.noise["achieved_rate"] for noise, record in records.items()} == {
        "human-aggregate": pytest.approx(0.2),
        "human-worse": pytest.approx(0.5),
    }
    for record in records.values():
        assert record.config["frozen"] and record.config["head"] == "mlp:8" and record.config["noise_file"] is None
        assert 0 <= record.metrics["noise_detection_average_precision"] <= 1
    text = board_markdown(Standings(board.card, board.records()))
    assert "a head (mlp:8) on fixed features of noisybench_cnn4 at 32×32 pixels" in text.replace("\\", "")
    assert "A stand-in." in text and "## Wrong labels found" in text
    # The board of other images takes none of them.
    wanted = board.card.model_copy(update={"dataset_fingerprints": {board.card.datasets[0]: "0" * 64}})
    assert misfit(board.card, records["human-worse"]) is None
    assert "its images are not the board's" in misfit(wanted, records["human-worse"])


def test_a_file_that_no_noise_reads_is_refused(cli, tmp_path, labels):
    code, _, err = cli("bench", "plan", "digits-quick", "--noise-file", labels)
    assert code == 2 and "no noise of board 'digits-quick' (symmetric) is left that reads a file" in err


@pytest.mark.parametrize(
    ("name", "dataset", "cells", "seeds"), [("cifar10n-frozen", "cifar10n", 3, 5), ("cifar10-frozen", "cifar10", 12, 3)]
)
def test_the_cards(name, dataset, cells, seeds):
    card = registry.benchmark_card(name)
    runs = expand(card)
    assert len(runs) == cells * seeds * len(card.methods) and len(card.methods) >= 30
    assert {run["dataset"] for run in runs} == {dataset} and {run["meta_size"] for run in runs} == {1000}
    assert board_facts(card) == [
        "Frozen runs: every method trains a head (linear) on fixed features of noisybench_lite0, pretrained, at "
        "112×112 pixels.",
        f"{card.images} Dataset fingerprint: {dataset} {HASH[:16]}….",
    ]
    assert {"ce", "clean-only", "finetune", "mslg"} <= set(card.methods) <= set(registry.method_entry_points())
    data = page_data(Standings(card, []))
    assert data["board"]["notes"] == board_facts(card)


def test_a_frozen_run_is_none_of_a_board_of_whole_networks():
    card = registry.benchmark_card("digits-quick")
    assert misfit(card, make_record()) is None
    assert misfit(card, make_record(frozen=True)) == "frozen is True; the board wants False"
    assert board_facts(card) == []


def test_a_wrong_fingerprint_of_a_card_is_refused():
    given = {"name": "b", "title": "b", "datasets": ["digits"], "noises": ["symmetric"], "methods": ["ce"]}
    with pytest.raises(ValueError, match="dataset_fingerprints.digits is 'abc', no sha256"):
        BenchmarkCard(**given, dataset_fingerprints={"digits": "abc"})
    with pytest.raises(UserError, match="unknown dataset of board 'b' in dataset_fingerprints 'digit'"):
        BenchmarkCard(**given, dataset_fingerprints={"digit": "0" * 64})
