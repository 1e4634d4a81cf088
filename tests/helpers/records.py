"""Synthetic run records that are right in every respect but that nobody trained anything."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import numpy as np

from noisybench.core.files import json_text
from noisybench.spec.identity import run_id_of
from noisybench.spec.metrics import select
from noisybench.spec.record import Cost, Fingerprints, InformationUsed, RunRecord, content_hash


def digest(*parts: Any) -> str:
    """A sha256 made from names."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def make_config(method: str, *, noise_rate: float, seed: int, epochs: int, **changes: Any) -> dict[str, Any]:
    """A resolved configuration as a record stores it."""
    config = {
        "method": method,
        "dataset": "digits",
        "noise": "symmetric",
        "noise_rate": noise_rate,
        "noise_seed": None,
        "seed": seed,
        "protocol": "sealed",
        "ruleset": "paper",
        "limit_train": None,
        "meta_size": 100,
        "noisy_val_size": 100,
        "clean_val_size": 100,
        "model": "noisybench_cnn4",
        "pretrained": False,
        "image_size": None,
        "precision": "float32",
        "epochs": epochs,
        "batch_size": 64,
        "order": "shuffled",
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False},
        "schedule": {"name": "cosine", "steps": [], "start": 0, "period": 10, "floor": 0.0},
        "augment": {"crop_padding": 0, "horizontal_flip": False, "vertical_flip": False, "meta_set": True},
        "settings": {},
        "data_path": None,
        "output": f"runs/{seed}",
        "wandb": False,
    }
    return {**config, **changes}


def make_record(
    method: str = "ce",
    *,
    noise_rate: float = 0.4,
    seed: int = 0,
    accuracy: float = 0.8,
    epochs: int = 40,
    clean_labels: int = 0,
    noise_prior: tuple[str, ...] = (),
    estimates_labels: bool = False,
    memorises: float = 0.5,
    step_cost: float = 3.0,
    seconds: float = 20.0,
    **changes: Any,
) -> RunRecord:
    """A record whose test accuracy ends at ``accuracy``, after a peak if the method memorises."""
    config = make_config(method, noise_rate=noise_rate, seed=seed, epochs=epochs, **changes)
    cell = (config["dataset"], config["noise"], noise_rate, seed)
    drawn = np.random.default_rng(int(digest(method, cell)[:8], 16))
    rise = [1 - math.exp(-6 * (epoch + 1) / epochs) for epoch in range(epochs)]
    fall = [max(0.0, (epoch / epochs - 0.3) / 0.7) for epoch in range(epochs)]
    wobble = drawn.normal(0, 0.006, (4, epochs))

    def curve(values, row) -> list[float]:
        return [round(min(1.0, max(0.0, v + w)), 6) for v, w in zip(values, wobble[row], strict=True)]

    bonus = [0.25 * memorises * noise_rate * (1 - f) for f in fall]
    test = curve([accuracy * r + b for r, b in zip(rise, bonus, strict=True)], 0)
    test[-1] = accuracy
    memorised = curve([memorises * f for f in fall], 1)
    both = list(zip(test, memorised, strict=True))
    curves: dict[str, list[float | None]] = {
        "test_accuracy": test,
        "noisy_val_accuracy": curve([v * (1 - noise_rate) for v in test], 2),
        "clean_val_accuracy": curve(test, 3),
        "train_accuracy_true": curve([a * (1 - noise_rate * m) for a, m in both], 1),
        "train_accuracy_given": curve([a * (1 - noise_rate) + noise_rate * m for a, m in both], 2),
        "memorised": memorised,
        "loss": [round(2.3 * (1 - 0.8 * r), 6) for r in rise],
        "learning_rate": [0.05] * epochs,
    }
    if estimates_labels:
        gain = (accuracy - (1 - noise_rate)) if accuracy > 1 - noise_rate else 0.0
        curves["label_accuracy_given"] = [round(1 - noise_rate, 6)] * epochs
        curves["label_accuracy_estimated"] = curve([1 - noise_rate + gain * f for f in fall], 0)
        curves["noise_detection_auroc"] = curve([0.5 + 0.45 * r for r in rise], 1)
    rules = select(curves["test_accuracy"], curves["noisy_val_accuracy"], curves["clean_val_accuracy"])
    labels = ("label_accuracy_given", "label_accuracy_estimated", "noise_detection_auroc")
    return RunRecord(
        run_id=run_id_of(config),
        config=config,
        fingerprints=Fingerprints(
            dataset=digest(config["dataset"]),
            noise=digest("noise", *cell),
            split=digest("split", config["dataset"], seed),
            weights=digest("weights", method, *cell),
        ),
        noise={
            "kind": config["noise"],
            "rule": "synthetic",
            "requested_rate": noise_rate,
            "achieved_rate": noise_rate,
            "achieved_rate_train_set": noise_rate,
        },
        metrics=rules | {name: curves[name][-1] for name in labels if name in curves},
        heads={"network": rules},
        curves=curves,
        information_used=InformationUsed(
            clean_labels=clean_labels,
            clean_labels_for_selection=config["clean_val_size"],
            noise_prior=list(noise_prior),
            pretrained_weights=config["pretrained"],
        ),
        cost=Cost(
            wall_seconds=seconds + 1.5,
            train_seconds=seconds,
            samples_per_second=1137 * epochs / seconds,
            peak_memory_bytes=700_000_000,
            device="cpu",
            processes=1,
            forward_equivalents_per_step=step_cost,
        ),
        versions={"noisybench": "0.1.0", "torch": "2.11.0"},
        git_commit=None,
    )


METHODS = {
    # name: (loss of accuracy per noise rate, what is memorised, clean labels, prior, estimates labels, cost)
    "ce": (0.62, 0.95, 0, (), False, 3.0),
    "gce": (0.30, 0.45, 0, (), False, 3.0),
    "elr": (0.22, 0.12, 0, (), True, 3.0),
    "co-teaching": (0.26, 0.20, 0, ("noise_rate",), False, 6.0),
    "mslg": (0.16, 0.08, 100, (), True, 10.0),
    "mlnt": (0.25, 0.30, 100, (), False, 21.0),
}


def make_board(
    *, methods: dict[str, tuple] = METHODS, rates=(0.2, 0.4, 0.6), seeds: int = 3, epochs: int = 40
) -> list[RunRecord]:
    """Records of several methods over a grid."""
    records = []
    for method, (slope, memorises, clean, prior, estimates, cost) in methods.items():
        for rate in rates:
            for seed in range(seeds):
                shared = np.random.default_rng(int(digest(rate, seed)[:8], 16)).normal(0, 0.01)
                own = np.random.default_rng(int(digest(method, rate, seed)[:8], 16)).normal(0, 0.006)
                accuracy = round(min(1.0, max(0.0, 0.985 - slope * rate**1.5 + shared + own)), 6)
                records.append(
                    make_record(
                        method,
                        noise_rate=rate,
                        seed=seed,
                        accuracy=accuracy,
                        epochs=epochs,
                        clean_labels=clean,
                        noise_prior=prior,
                        estimates_labels=estimates,
                        memorises=memorises,
                        step_cost=cost,
                        seconds=5.0 * cost + seed,
                    )
                )
    return records


def sealed(content: dict[str, Any]) -> str:
    """The text of a record after an edit, with the hash that a careful forger would put in."""
    content["sha256"] = content_hash(content)
    return json_text(content)


def with_config(content: dict[str, Any], **changes: Any) -> str:
    """The text of a record after an edit of its configuration, with the run id and hash that belong to it."""
    content["config"] |= changes
    content["run_id"] = run_id_of(content["config"])
    return sealed(content)
