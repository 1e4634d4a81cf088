"""MSLG through the benchmark, against a step written out here with a double backward."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet
import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

import noisybench
from noisybench.models import NetworkSpec, create_network
from noisybench.models.fingerprint import state_hash, weights_hash
from noisybench.spec.record import RunRecord
from noisybench.train.checkpoint_file import checkpoints, load_checkpoint
from noisybench.train.prepare import prepare, streams

BATCH, CLASSES, ALPHA, KAPPA, GAMMA, GAP, FLOOR = 30, 10, 0.5, 40.0, 0.7, 10.0, 1e-10


def config(output, **changes):
    """Three MSLG steps of 30 images on digits, in float64 and file order."""
    given = {
        "method": "mslg",
        "dataset": "digits",
        "noise_rate": 0.4,
        "limit_train": 150,
        "meta_size": 40,
        "noisy_val_size": 10,
        "clean_val_size": 10,
        "epochs": 1,
        "batch_size": BATCH,
        "order": "sequential",
        "precision": "float64",
        "optimizer": {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3},
        "schedule": {"name": "constant"},
        "settings": {"warmup_epochs": 0, "inner_lr": ALPHA, "kappa": KAPPA, "entropy_weight": GAMMA},
        "output": output,
    }
    return noisybench.resolve(noisybench.RunConfig(**{**given, **changes}))


def three_steps(run_config):
    """The authors' step (specs: forward, look-ahead with its graph kept, label update, base step on new labels)."""
    on_device = streams(run_config, prepare(run_config), torch.device("cpu"), torch.float64)
    spec = NetworkSpec(run_config.model, num_classes=CLASSES, channels=1, image_size=8)
    model = create_network(spec, seed=run_config.seed).double()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    labels = GAP * F.one_hot(on_device.train.labels, CLASSES).double()
    for step in range(3):
        rows = torch.arange(step * BATCH, (step + 1) * BATCH)
        meta_rows = rows % len(on_device.meta)
        batch_labels = labels[rows].clone().requires_grad_()
        p = F.softmax(model(on_device.train.images(rows)), 1)
        scale = BATCH * CLASSES

        def lc(label_logits, p=p, scale=scale):
            return (p * (p.log() - (F.softmax(label_logits, 1) + FLOOR).log())).sum() / scale

        parameters = dict(model.named_parameters())
        gradients = torch.autograd.grad(lc(batch_labels), list(parameters.values()), create_graph=True)
        ahead = {n: w - ALPHA * g for (n, w), g in zip(parameters.items(), gradients, strict=True)}
        buffers = {n: b.clone() for n, b in model.named_buffers()}
        meta_logits = functional_call(model, {**ahead, **buffers}, (on_device.meta.images(meta_rows),))
        meta_loss = F.cross_entropy(meta_logits, on_device.meta.labels[meta_rows])
        gradient = torch.autograd.grad(meta_loss, batch_labels, retain_graph=True)[0]
        beta = KAPPA * scale / ALPHA
        labels[rows] -= beta * gradient
        optimizer.zero_grad()
        (lc(labels[rows]) + GAMMA * -(p * p.log()).sum() / scale).backward()
        optimizer.step()
    return model, labels


def test_three_steps_agree_with_a_double_backward(tmp_path):
    run_config = config(tmp_path / "run")
    noisybench.run(run_config)
    saved = load_checkpoint(checkpoints(tmp_path / "run" / "checkpoints")[-1])["method"]
    model, labels = three_steps(run_config)
    moved = (labels - GAP * F.one_hot(labels.argmax(1), CLASSES)).abs().max()
    assert moved > 1e-3  # the labels really went somewhere
    torch.testing.assert_close(saved["store"]["label_logits"], labels, rtol=1e-9, atol=1e-9)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(saved["network"][name], tensor, rtol=1e-9, atol=1e-9)


def test_rows_of_label_logits_keep_their_sum(tmp_path):
    noisybench.run(config(tmp_path / "run", epochs=3))
    store = load_checkpoint(checkpoints(tmp_path / "run" / "checkpoints")[-1])["method"]["store"]
    torch.testing.assert_close(store["label_logits"].sum(1), torch.full((90,), GAP, dtype=torch.float64))


def test_the_label_step_does_not_depend_on_the_batch_size(tmp_path):
    """κ is free of N: with frozen weights (a vanishing learning rate) a batch of 45 moves labels as two would."""
    common = {"optimizer": {"lr": 1e-300, "momentum": 0.0, "weight_decay": 0.0}, "model": "noisybench_mlp"}
    steps = []
    for batch_size in (90, 45):
        folder = tmp_path / str(batch_size)
        # 90 or 45 images against the same 90 clean ones: the meta batch is of the batch's size, so give it one pass.
        changes = {"batch_size": batch_size, "settings": {"warmup_epochs": 0, "inner_lr": 1e-12, "kappa": KAPPA}}
        noisybench.run(config(folder, **common, **changes, meta_size=45, limit_train=155))
        store = load_checkpoint(checkpoints(folder / "checkpoints")[-1])["method"]["store"]
        steps.append(store["label_logits"])
    # The meta set of 45 fills a batch of 90 twice: the same clean loss in both runs, so the same label step.
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-6, atol=1e-9)


def test_warm_up_leaves_labels_alone_and_is_cross_entropy(tmp_path):
    settings = {"warmup_epochs": 2, "kappa": KAPPA}
    warm = noisybench.run(config(tmp_path / "mslg", epochs=2, settings=settings))
    plain = noisybench.run(config(tmp_path / "ce", epochs=2, method="ce", settings={}))
    assert warm.fingerprints.weights == plain.fingerprints.weights
    assert warm.metrics["label_accuracy_estimated"] == warm.metrics["label_accuracy_given"]


def test_meta_statistics_are_seen_only_if_asked_for(tmp_path):
    def running_mean(name, meta_statistics):
        settings = {"warmup_epochs": 0, "kappa": 0.0, "meta_statistics": meta_statistics}
        noisybench.run(config(tmp_path / name, settings=settings, limit_train=90, batch_size=60))
        saved = load_checkpoint(checkpoints(tmp_path / name / "checkpoints")[-1])["method"]["network"]
        return saved["convolutions.1.running_mean"], saved["convolutions.1.num_batches_tracked"]

    (without, count_without), (with_meta, count_with) = running_mean("a", False), running_mean("b", True)
    assert count_without == count_with == 1
    assert not torch.allclose(without, with_meta)


@pytest.mark.parametrize("engine", ["finite-difference", "head"])
def test_approximations_run_and_move_labels(tmp_path, engine):
    settings = {"warmup_epochs": 0, "kappa": KAPPA, "engine": engine}
    noisybench.run(config(tmp_path / "run", settings=settings))
    labels = load_checkpoint(checkpoints(tmp_path / "run" / "checkpoints")[-1])["method"]["store"]["label_logits"]
    spread = labels.std(0).max()
    assert torch.isfinite(labels).all() and spread > 0
    assert float((labels - labels.round()).abs().max()) > 1e-6


def test_labels_parquet_ranks_by_suspicion(tmp_path):
    record = noisybench.run(config(tmp_path / "run", epochs=2))
    table = pyarrow.parquet.read_table(tmp_path / "run" / "labels.parquet").to_pydict()
    data = prepare(config(tmp_path / "other"))
    assert sorted(table["index"]) == data.splits.train.tolist()
    given = dict(zip(data.splits.train.tolist(), data.given_labels.tolist(), strict=True))
    assert [given[index] for index in table["index"]] == table["given_label"]
    soft = np.array(table["soft_label"])
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-5)
    assert table["suspicion"] == sorted(table["suspicion"], reverse=True)
    # AUROC by its definition: the share of (wrong, right) pairs that the score puts in order.
    truth = dict(zip(data.splits.train.tolist(), data.true_labels.tolist(), strict=True))
    wrong = np.array([truth[index] != label for index, label in zip(table["index"], table["given_label"], strict=True)])
    score = np.array(table["suspicion"])
    pairs = np.sign(score[wrong][:, None] - score[~wrong][None, :])
    assert record.metrics["noise_detection_auroc"] == pytest.approx((pairs.mean() + 1) / 2)


def test_suspicion_is_the_networks_odds_against_the_given_label(tmp_path):
    run_config = config(tmp_path / "run", settings={"warmup_epochs": 1}, batch_size=90)
    noisybench.run(run_config)  # one step: what the network thought is what its initial weights say
    found = load_checkpoint(checkpoints(tmp_path / "run" / "checkpoints")[-1])["method"]["store"]["odds_against_given"]
    train = streams(run_config, prepare(run_config), torch.device("cpu"), torch.float64).train
    spec = NetworkSpec("noisybench_cnn4", num_classes=10, channels=1, image_size=8)
    model = create_network(spec, seed=0).double()
    p = model(train.images(slice(0, 90))).softmax(1).gather(1, train.labels[:, None])[:, 0]
    torch.testing.assert_close(found, ((1 - p) / p).log())


def test_labels_move_at_every_second_step_only(tmp_path):
    settings = {"warmup_epochs": 0, "meta_every": 2, "initial_gap": 3.0}
    run_config = config(tmp_path / "run", settings=settings, batch_size=30, epochs=1)
    record = noisybench.run(run_config)
    store = load_checkpoint(checkpoints(tmp_path / "run" / "checkpoints")[-1])["method"]["store"]
    given = torch.from_numpy(prepare(run_config).given_labels)
    start = 3 * torch.nn.functional.one_hot(given, 10).to(store["label_logits"].dtype)
    moved = (store["label_logits"] != start).any(dim=1)
    for step, rows in enumerate(torch.arange(len(given)).split(30)):  # in file order
        assert bool(moved[rows].all()) is (step % 2 == 0) and bool(moved[rows].any()) is (step % 2 == 0)
    assert record.cost.forward_equivalents_per_step == 3 + 7 / 2
    later = {"warmup_epochs": 0, "initial_gap": 3.0}
    plain = config(tmp_path / "plain", settings=later)
    assert plain.settings["meta_every"] == 1 and "meta_every" not in plain.science()["settings"]
    assert plain.run_id != config(tmp_path / "plain", settings={**later, "meta_every": 2}).run_id


def test_weights_hash_sees_every_bit():
    model = torch.nn.Linear(2, 2)
    before = weights_hash({"network": model})
    assert before == weights_hash({"network": model})
    with torch.no_grad():
        model.weight[0, 0] = torch.nextafter(model.weight[0, 0], torch.tensor(9.0))
    assert weights_hash({"network": model}) != before


def test_state_hash_sees_what_is_no_module():
    def state():
        return {"network": {"w": torch.ones(2)}, "store": {"u": torch.zeros(3)}, "step": 4, "optimizer": {"state": {}}}

    before = state_hash(state(), without=["network"])
    changed = state()
    changed["network"]["w"] += 1
    assert state_hash(changed, without=["network"]) == before
    changed["store"]["u"][1] = torch.nextafter(torch.tensor(0.0), torch.tensor(1.0))
    assert state_hash(changed, without=["network"]) != before
    assert state_hash(state() | {"step": 5}, without=["network"]) != before
    assert state_hash(dict(reversed(state().items())), without=["network"]) == before


def test_a_record_tells_of_the_label_state(tmp_path):
    """Two runs in warm-up to their end: the networks are the same, the label logits are not."""
    given = {"settings": {"warmup_epochs": 2, "initial_gap": 3.0}, "epochs": 2}
    first = noisybench.run(config(tmp_path / "first", **given))
    given["settings"] = {"warmup_epochs": 2, "initial_gap": 5.0}
    other = noisybench.run(config(tmp_path / "other", **given))
    assert first.fingerprints.weights == other.fingerprints.weights
    assert first.fingerprints.state != other.fingerprints.state and len(first.fingerprints.state) == 64
    read = RunRecord.load(tmp_path / "first" / "result.json")
    assert read.fingerprints == first.fingerprints
    old = read.model_copy(update={"fingerprints": read.fingerprints.model_copy(update={"state": None})})
    assert "state" not in old.content()["fingerprints"]  # as release 0.1 stored it
    old.save(tmp_path / "old.json")
    assert RunRecord.load(tmp_path / "old.json") == old
