"""The key of every draw of a run, by name: SHA-256 of the JSON list [seed, purpose, ...], its first 64 bits.

Keys are computed here anew and compared with those that generators were really made with, so that a purpose, a part of
a key or the order of parts cannot change unseen. What the draws give is in ``test_golden_draws.py``. Augmentation is
off and not pinned.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from timm.models import register_model
from torch import nn

import noisybench
from noisybench.core import rng

made_with: list[int] = []  # torch's seed when each network of the test's own model was made


class Seeded(nn.Module):
    def __init__(self, num_classes: int):
        super().__init__()
        made_with.append(torch.initial_seed())
        self.fc = nn.LazyLinear(num_classes)

    def forward(self, images):
        return self.fc(images.flatten(1))


@register_model
def golden_linear(pretrained=False, num_classes=10, **unused):
    return Seeded(num_classes)


def key(seed: int, purpose: str, *parts: int | str) -> int:
    digest = hashlib.sha256(json.dumps([seed, purpose, *parts]).encode()).digest()
    return sum(byte << (8 * place) for place, byte in enumerate(digest[:8]))


@pytest.fixture
def keys(monkeypatch):
    """The keys of all NumPy generators made and the seeds torch was given: two sets that fill while a run goes on."""
    philox, torch_seeds = set(), set()
    real_philox, real_seed, real_step_seed = np.random.Philox, torch.manual_seed, rng.seed_torch

    def counted_philox(*arguments, key=None, **more):
        philox.add(key)
        return real_philox(*arguments, key=key, **more)

    def counted_seed(seed):
        torch_seeds.add(seed)
        return real_seed(seed)

    def counted_step_seed(seed, device):
        torch_seeds.add(seed)
        return real_step_seed(seed, device)

    monkeypatch.setattr(np.random, "Philox", counted_philox)
    monkeypatch.setattr(rng, "seed_torch", counted_step_seed)
    monkeypatch.setattr(torch, "manual_seed", counted_seed)
    return philox, torch_seeds


def run(tmp_path, method: str, **changes):
    given = {"method": method, "model": "noisybench_mlp", "dataset": "digits", "limit_train": 200, "seed": 5}
    given |= {"noise_seed": 6, "epochs": 2, "batch_size": 64, "meta_size": 20, "noisy_val_size": 20}
    given |= {"clean_val_size": 20, "augment": {"crop_padding": 0}, "output": tmp_path / "run"}
    return noisybench.run(noisybench.RunConfig(**{**given, **changes}))


OF_EVERY_RUN = {
    key(0, "digits-test"),
    key(0, "limit-train", 200),
    key(6, "noise"),
    key(5, "split", "meta"),
    key(5, "split", "clean_val"),
    key(5, "split", "noisy_val"),
}
ORDER = {key(5, "order", epoch, 0) for epoch in range(2)}
STEPS = {key(5, "step", step, 0) for step in range(6)}  # 140 images in three batches, two epochs


def test_a_plain_run_draws_by_these_keys_and_no_others(tmp_path, keys):
    run(tmp_path, "ce")
    philox, torch_seeds = keys
    assert philox == OF_EVERY_RUN | ORDER
    assert torch_seeds == STEPS | {key(5, "init", 0)}


def test_networks_are_made_under_their_numbers(tmp_path):
    made_with.clear()
    run(tmp_path, "co-teaching", model="noisybench_mlp")
    assert made_with == []
    run(tmp_path, "co-teaching", model="golden_linear", output=tmp_path / "own")
    assert made_with == [key(5, "init", 0), key(5, "init", 1)]


MORE = {  # method -> its settings; further generators; further seeds of torch
    "meta-weight-net": ({}, {key(5, "meta-order", n) for n in range(20)}, {key(5, "method-weight-network")}),
    "metalabelnet": (
        {"warmup_epochs": 1},
        {key(5, "meta-order", n) for n in range(20)},
        {key(5, "method-label-layer")},
    ),
    "mlnt": (
        {"warmup_epochs": 1, "iterations": 1, "label_sets": 3, "start_step": 0, "ramp_steps": 0},
        {key(5, "method-labels", step, number) for step in (4, 5) for number in range(3)},
        set(),
    ),
    "dividemix": (
        {"warmup_epochs": 1},
        # How many rows each network's labelled part has, and so how many steps there are, is the mixtures' affair.
        {key(5, "order", epoch, number) for epoch in range(2) for number in range(2)}
        | {key(5, "paired-order", 1, 0, 0), key(5, "paired-order", 1, 1, 0), key(5, "method-mixup", 1, 6)},
        {key(5, "init", 1)},
    ),
}


@pytest.mark.parametrize("method", MORE)
def test_methods_draw_by_keys_of_their_own(tmp_path, keys, method):
    settings, more, more_seeds = MORE[method]
    run(tmp_path, method, settings=settings)
    philox, torch_seeds = keys
    assert more | OF_EVERY_RUN <= philox
    assert more_seeds | {key(5, "init", 0)} <= torch_seeds


@pytest.mark.parametrize(
    ("noise", "expected"),
    [
        (
            "instance-dependent",
            {key(6, "noise", "instance-dependent"), *(key(6, "noise", "projection", c) for c in range(10))},
        ),
        ("pmd-1", {key(6, "noise", "margin-diminishing")}),
        ("pmd-3", {key(6, "noise", "margin-diminishing")}),
        ("pair-flip", {key(6, "noise")}),
        ("feature-dependent", set()),
    ],
)
def test_noise_is_drawn_by_its_own_key(cli, tmp_path, keys, noise, expected):
    named = noise
    if noise.startswith(("pmd", "feature")):
        assert cli("noise", "make", "--noise", "symmetric", "--output", tmp_path / "made.npz")[0] == 0
        clean = np.load(tmp_path / "made.npz")["clean"]
        probabilities = np.full((len(clean), 10), 0.05) + 0.5 * np.eye(10)[clean]
        np.savez(tmp_path / "predictions.npz", probabilities=probabilities, clean=clean)
        named = f"{noise}:{tmp_path / 'predictions.npz'}"
    keys[0].clear()
    file = tmp_path / "noise.npz"
    assert cli("noise", "make", "--noise", named, "--noise-rate", "0.2", "--seed", "6", "--output", file)[0] == 0
    assert keys[0] == {key(0, "digits-test"), *expected}


def test_the_student_of_feature_dependent_noise_trains_by_these_keys(cli, tmp_path, keys):
    file = tmp_path / "student.npz"
    options = ("--model", "noisybench_mlp", "--epochs", "1", "--batch-size", "100", "--limit-train", "200")
    assert cli("noise", "student", *options, "--seed", "5", "--output", file)[0] == 0
    philox, torch_seeds = keys
    both = range(2)  # teacher and student
    assert philox == OF_EVERY_RUN - {
        key(6, "noise"),
        *(key(5, "split", n) for n in ("meta", "clean_val", "noisy_val")),
    } | {key(5, "student-order", number, 0) for number in both}
    assert torch_seeds == {key(5, "init", number) for number in both} | {
        key(5, "student-step", number, step) for number in both for step in both
    }
