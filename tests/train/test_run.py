"""Whole runs: the record, determinism, resuming, selection rules."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save
from worlds import process

import noisybench
from noisybench.core.errors import DamagedCheckpoint, UserError
from noisybench.noise import NoiseArtifact
from noisybench.spec.metrics import select
from noisybench.spec.record import RunRecord
from noisybench.train import job
from noisybench.train.build import Place
from noisybench.train.checkpoint_file import checkpoints, load_checkpoint, save_checkpoint
from noisybench.train.prepare import prepare, streams
from noisybench.train.progress import Progress
from noisybench.train.session import Session


def config(output, **changes):
    given = {"method": "mslg", "limit_train": 400, "epochs": 4, "settings": {"warmup_epochs": 2}, "output": output}
    return noisybench.resolve(noisybench.RunConfig(**{**given, **changes}))


class Stopped(Exception):
    pass


class StopAfter(Progress):
    """Interrupts a run once so many epochs are done."""

    def __init__(self, epochs):
        self.left = epochs

    def epoch(self, row):
        self.left -= 1
        if self.left == 0:
            raise Stopped


def test_select_by_hand():
    test = [0.1, 0.5, 0.9, 0.6, 0.7, 0.8]
    found = select(test, noisy_val=[0.1, 0.4, 0.2, 0.4, 0.1, 0.1], clean_val=[0.1, 0.1, 0.1, 0.1, 0.2, 0.1])
    assert found == {
        "test_accuracy_last": 0.8,
        "test_accuracy_last5": pytest.approx((0.5 + 0.9 + 0.6 + 0.7 + 0.8) / 5),
        "test_accuracy_best_noisy_val": 0.5,  # the first of the two best epochs
        "test_accuracy_best_clean_val": 0.7,
        "test_accuracy_oracle": 0.9,
    }
    assert select([0.3], None, [0.2])["test_accuracy_best_noisy_val"] is None


def test_same_seed_same_run_and_another_seed_another(tmp_path):
    np.random.seed(1)
    first = noisybench.run(config(tmp_path / "a"))
    np.random.seed(2)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = noisybench.run(config(tmp_path / "b"))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.metrics == second.metrics and first.curves == second.curves
    assert first.fingerprints == second.fingerprints
    other = noisybench.run(config(tmp_path / "c", seed=1))
    assert other.fingerprints.weights != first.fingerprints.weights
    assert other.fingerprints.noise != first.fingerprints.noise
    assert other.fingerprints.split != first.fingerprints.split
    assert other.fingerprints.dataset == first.fingerprints.dataset


@pytest.mark.parametrize("stop", [1, 3])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, stop):
    whole = noisybench.run(config(tmp_path / "whole"))
    with pytest.raises(Stopped):
        noisybench.run(config(tmp_path / "parts"), progress=StopAfter(stop))
    assert not (tmp_path / "parts" / "result.json").exists()
    resumed = noisybench.run(config(tmp_path / "parts"), resume=True)
    assert resumed.fingerprints == whole.fingerprints
    assert resumed.metrics == whole.metrics and resumed.curves == whole.curves
    assert len((tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()) == 4


def test_methods_share_noise_split_and_start(tmp_path):
    records = [noisybench.run(config(tmp_path / m, method=m, settings={}, epochs=1)) for m in ("ce", "mslg")]
    assert records[0].fingerprints.noise == records[1].fingerprints.noise
    assert records[0].fingerprints.split == records[1].fingerprints.split
    assert records[0].run_id != records[1].run_id


def test_the_record_says_what_happened(tmp_path):
    record = noisybench.run(config(tmp_path / "run"))
    stored = json.loads((tmp_path / "run" / "result.json").read_text())
    assert RunRecord.load(tmp_path / "run" / "result.json") == record
    assert stored["config"]["method"] == "mslg" and stored["config"]["dataset"] == "digits"
    assert stored["run_id"] == config(None).run_id
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [row["test_accuracy"] for row in rows] == record.curves["test_accuracy"]
    assert record.metrics["test_accuracy_last"] == rows[-1]["test_accuracy"]
    assert record.information_used.clean_labels == 28  # 100 of 1,437 at --limit-train 400
    assert record.information_used.clean_labels_for_selection == 28
    assert record.cost.forward_equivalents_per_step == 10
    assert record.cost.processes == 1 and record.cost.peak_memory_bytes > 1e8
    artifact = NoiseArtifact.load(tmp_path / "run" / "noise.npz")
    assert artifact.sha256 == record.fingerprints.noise
    assert record.noise["achieved_rate"] == artifact.achieved_rate == pytest.approx(0.4, abs=0.01)
    data = prepare(config(None))
    assert record.metrics["label_accuracy_given"] == pytest.approx(1 - data.train_noise_rate)


def test_test_accuracy_is_the_share_of_right_predictions(tmp_path):
    from noisybench.models import NetworkSpec, create_network

    run_config = config(tmp_path / "run", method="ce", settings={}, epochs=1)
    record = noisybench.run(run_config)
    saved = load_checkpoint(checkpoints(tmp_path / "run" / "checkpoints")[-1])["method"]["network"]
    network = create_network(NetworkSpec(run_config.model, num_classes=10, channels=1, image_size=8), seed=0).eval()
    network.load_state_dict(saved)
    test = streams(run_config, prepare(run_config), torch.device("cpu"), torch.float32).test
    right = (network(test.images(slice(None))).argmax(1) == test.labels).double().mean().item()
    assert record.metrics["test_accuracy_last"] == pytest.approx(right)
    assert len(test) == 360


def test_a_method_without_meta_set_gets_none(tmp_path):
    with pytest.raises(UserError, match="'mslg' needs a clean meta set, and meta_size is 0"):
        noisybench.run(config(tmp_path / "run", meta_size=0))
    assert not (tmp_path / "run").exists()
    record = noisybench.run(config(tmp_path / "ce", method="ce", settings={}, meta_size=0, epochs=1))
    assert record.information_used.clean_labels == 0


def test_authors_protocol_has_no_noisy_validation(tmp_path):
    record = noisybench.run(config(tmp_path / "run", protocol="authors", limit_train=None, epochs=1, meta_size=100))
    assert record.metrics["test_accuracy_best_noisy_val"] is None
    assert record.metrics["test_accuracy_best_clean_val"] is not None


def test_checkpoints_refuse_damage(tmp_path):
    state = {"a": torch.arange(3), "b": {"c": [1, "x", None, torch.zeros(2, 2)]}, 7: 1.5}
    file = save_checkpoint(tmp_path, 12, state)
    read = load_checkpoint(file)
    assert torch.equal(read["a"], state["a"]) and read["b"]["c"][:3] == [1, "x", None] and read[7] == 1.5
    content = file.read_bytes()
    for damaged, message in (
        (content[:-1] + bytes([content[-1] ^ 1]), "does not match its hash"),  # a tensor's last bit
        (content.replace(b"1.5", b"2.5"), "does not match its hash"),
        (content[: len(content) // 2], "cannot be read"),
        (b"", "cannot be read"),
    ):
        assert damaged != content
        file.write_bytes(damaged)
        with pytest.raises(DamagedCheckpoint, match=message):
            load_checkpoint(file)
    file.write_bytes(save({"a": torch.zeros(1)}))  # as the first release wrote them
    with pytest.raises(UserError, match="schema version 1, this release reads 2"):
        load_checkpoint(file)


def test_default_output_is_named_by_what_it_is():
    name = str(job.default_output(config(None)))
    assert name.startswith("runs/mslg-digits-symmetric-0.4-seed0-")


def test_channels_last_changes_the_layout_and_nothing_but_rounding(tmp_path):
    options = {"method": "mslg", "dataset": "synthetic", "precision": "float64", "epochs": 2}
    runs = [
        noisybench.run(noisybench.RunConfig(**options, channels_last=last, output=tmp_path / str(last)))
        for last in (False, True)
    ]
    for name in ("loss", "test_accuracy"):
        np.testing.assert_allclose(runs[0].curves[name], runs[1].curves[name], rtol=1e-9)
    for last in (False, True):
        run_config = noisybench.resolve(noisybench.RunConfig(**options, channels_last=last))
        place = Place(process(), torch.device("cpu"), torch.float64)
        method = Session(run_config, prepare(run_config), place).method
        weights = [p for p in method.network.parameters() if p.dim() == 4 and min(p.shape[1:]) > 1]
        assert weights and all(p.is_contiguous(memory_format=torch.channels_last) is last for p in weights)
