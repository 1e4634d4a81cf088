"""The baselines that use the clean set, and the cards of the loss-based, label-updating and clean baselines."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from small_method import EVERYONE, small_batch, small_method, weights

from noisybench import RunConfig, resolve, run
from noisybench.methods.clean_only import CleanOnly
from noisybench.methods.finetune import FineTune
from noisybench.spec import registry

METHODS = [
    "bootstrap-hard",
    "bootstrap-soft",
    "clean-only",
    "elr",
    "finetune",
    "forward",
    "forward-oracle",
    "gce",
    "joint",
    "pencil",
    "sce",
]
# Settings that end or start a phase, in the order in which they must come, each before the run's last epoch.
PHASES = {
    "forward": ["estimation_epochs"],
    "joint": ["label_start", "first_stage_epochs"],
    "pencil": ["warmup_epochs", "freeze_epoch"],
}


def digits_run(tmp_path, name: str, **given):
    small = {"model": "noisybench_mlp", "limit_train": 450, "noise_rate": 0.5, "epochs": 2}
    return run(RunConfig(**{**small, **given}, output=tmp_path / name))


def test_clean_only_never_touches_noisy_labels(tmp_path):
    """Other noisy labels leave its weights as they are, to the bit; those of cross-entropy they do not."""
    found = {
        (method, seed): digits_run(tmp_path, f"{method}-{seed}", method=method, noise_seed=seed).fingerprints
        for method in ("clean-only", "ce")
        for seed in (1, 2)
    }
    assert found["clean-only", 1].noise != found["clean-only", 2].noise
    assert found["clean-only", 1].weights == found["clean-only", 2].weights
    assert found["ce", 1].weights != found["ce", 2].weights


def test_clean_only_steps_on_the_clean_batch():
    method = small_method(CleanOnly)
    batch = small_batch(method, EVERYONE)
    expected = F.cross_entropy(method.network(batch.meta_images), batch.meta_labels).item()
    output = method.training_step(batch)
    assert output.loss.item() == pytest.approx(expected)
    assert output.logits is None


def test_finetune_switches_to_the_clean_set_for_its_last_epochs():
    method, noisy, clean = (small_method(FineTune, epochs=5, finetune_epochs=2) for _ in range(3))
    for epoch in range(5):
        batch = small_batch(method, EVERYONE, epoch=epoch)
        method.training_step(batch)
        for twin, images, labels in (
            (noisy, batch.images, batch.labels),
            (clean, batch.meta_images, batch.meta_labels),
        ):
            twin.context.step(F.cross_entropy(twin.network(images), labels), twin.optimizer)
        expected, other = (noisy, clean) if epoch < 3 else (clean, noisy)
        assert torch.equal(weights(method.network), weights(expected.network)), epoch
        assert not torch.equal(weights(method.network), weights(other.network))
        if epoch == 2:  # both twins go on from here
            for twin in (noisy, clean):
                twin.load_state_dict(copy.deepcopy(method.state_dict()))


def test_clean_baselines_declare_the_clean_set(tmp_path):
    for method in ("clean-only", "finetune"):
        record = digits_run(tmp_path, method, method=method, epochs=1)
        assert record.information_used.clean_labels == record.config["meta_size"] > 0
    assert digits_run(tmp_path, "gce", method="gce", epochs=1).information_used.clean_labels == 0


@pytest.mark.parametrize("method", METHODS)
def test_cards_build_for_every_dataset_protocol_and_ruleset(method):
    card = registry.method_card(method)
    assert card.title
    assert card.summary
    assert all(claim.protocol and claim.source for claim in card.claims)
    assert set(card.recipes) <= set(card.recipe_sources) | {"default", "synthetic"}
    for dataset, protocol, ruleset in itertools.product(
        ("digits", "cifar10"), ("sealed", "authors"), ("paper", "blind")
    ):
        config = resolve(RunConfig(method=method, dataset=dataset, protocol=protocol, ruleset=ruleset))
        ends = [config.settings[name] for name in PHASES.get(method, [])]
        limit = config.epochs if protocol == "sealed" else config.epochs + 1  # the authors' joint has one phase alone
        assert ends == sorted(ends)
        assert all(end < limit for end in ends)


@pytest.mark.parametrize("method", ["forward", "joint", "pencil", "elr", "gce"])
def test_a_short_run_goes_through_all_phases(method, tmp_path):
    settings = {
        "forward": {"estimation_epochs": 1},
        "joint": {"label_start": 1, "first_stage_epochs": 2},
        "pencil": {"warmup_epochs": 1, "freeze_epoch": 2},
        "gce": {"prune_from": 1, "prune_every": 1},
        "elr": {},
    }
    record = digits_run(tmp_path, method, method=method, epochs=3, settings=settings[method])
    assert record.status == "completed"
    assert 0 <= record.metrics["test_accuracy_last"] <= 1
    if method in ("joint", "pencil", "elr"):
        assert record.metrics["noise_detection_auroc"] > 0.5
        assert (tmp_path / method / "labels.parquet").exists()
