"""Every number a run measures, from a method whose losses, predictions and label estimates are known beforehand."""

from __future__ import annotations

import csv
import io

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image
from torch import nn

import noisybench
from noisybench.data import SplitInput, split
from noisybench.methods import LabelEstimate, Method, StepOutput
from noisybench.spec.cards import SplitSizes

TRAIN, TEST, CLASSES, EPOCHS, LEFT = 300, 100, 10, 7, 210
SIZES = {"meta_size": 40, "noisy_val_size": 30, "clean_val_size": 20}
SHARED = {
    "method": "test_metrics_by_hand:Known",
    "dataset": "small-cifar10",
    **SIZES,
    "epochs": EPOCHS,
    "batch_size": 64,
}

# How many images of each set a head gets right in each epoch. The rules that select an epoch all choose another one,
# and validation accuracy has its highest value twice.
RIGHT = {
    "first": {
        "test": [20, 50, 90, 60, 70, 80, 30],
        "noisy_val": [3, 12, 6, 12, 3, 3, 3],
        "clean_val": [2, 2, 2, 2, 8, 8, 2],
    },
    "second": {
        "test": [11, 12, 13, 14, 15, 16, 17],
        "noisy_val": [30, 0, 0, 0, 0, 0, 29],
        "clean_val": [0, 0, 0, 20, 0, 0, 0],
    },
}
RULES = {  # worked out by hand from the table above
    "first": {"last": 0.3, "last5": 0.66, "best_noisy_val": 0.5, "best_clean_val": 0.7, "oracle": 0.9},
    "second": {"last": 0.17, "last5": 0.15, "best_noisy_val": 0.11, "best_clean_val": 0.14, "oracle": 0.17},
}

drawn = np.random.default_rng(0)
LOSSES = drawn.random((EPOCHS, LEFT)) + 0.5
SHIFTS = drawn.choice([0, 0, 0, 1, 2, 3], (EPOCHS, LEFT))  # the class predicted in training, from the given one on
ESTIMATES = drawn.choice([0, 0, 1, 2], (EPOCHS, LEFT))  # the same of the class that the label estimate puts first
SUSPICIONS = drawn.integers(0, 6, (EPOCHS, LEFT)).astype(float)  # with many ties

places: dict[bytes, tuple[str, int, int]] = {}  # of an image: its set, its place in it, its label there


class Known(Method):
    heads = ("first", "second")

    def build(self):
        self.network = nn.Linear(1, 1)
        self.epoch = 0

    def start_epoch(self, epoch):
        self.epoch = epoch

    def training_step(self, batch):
        rows = batch.index.numpy()
        loss = torch.from_numpy(LOSSES[batch.epoch, rows])
        classes = (batch.labels + torch.from_numpy(SHIFTS[batch.epoch, rows])) % CLASSES
        logits = nn.functional.one_hot(classes, CLASSES).float()
        return StepOutput(loss.mean(), logits, {"square": (loss**2).mean()})

    def predict(self, images, head):
        mean, std = (torch.tensor(v)[:, None, None] for v in ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)))
        pixels = ((images * std + mean) * 255).round().to(torch.uint8).numpy()
        said = []
        for image in pixels:
            name, place, label = places[image.tobytes()]
            said.append(label if place < RIGHT[head][name][self.epoch] else (label + 1) % CLASSES)
        return nn.functional.one_hot(torch.tensor(said), CLASSES).float()

    def estimate_labels(self):
        classes = (self.context.given_labels + torch.from_numpy(ESTIMATES[self.epoch])) % CLASSES
        soft = 0.9 * nn.functional.one_hot(classes, CLASSES) + 0.01
        return LabelEstimate(soft, torch.from_numpy(SUSPICIONS[self.epoch]))

    def epoch_logs(self):
        return {"of_the_state": float(self.epoch**2)}


def read(folder, name: str) -> tuple[np.ndarray, np.ndarray]:
    rows = pyarrow.parquet.read_table(folder / f"{name}-00000-of-00001.parquet").to_pylist()
    images = [np.array(Image.open(io.BytesIO(row["img"]["bytes"]))).transpose(2, 0, 1) for row in rows]
    return np.stack(images), np.array([row["label"] for row in rows])


@pytest.fixture
def files(cifar_like, small_cifar10, tmp_path, cli):
    """Pixels and true labels of both parts, given labels of every third one wrong, and the noise file with them."""
    (pixels, true), test = read(cifar_like, "train"), read(cifar_like, "test")
    numbers = np.arange(TRAIN)
    given = np.where(numbers // 10 % 3 == 0, (true + 1 + numbers % 4) % CLASSES, true)
    with open(tmp_path / "labels.csv", "w", newline="") as file:
        csv.writer(file).writerows([("noisy", "clean"), *zip(given, true, strict=True)])
    arguments = ("--dataset", small_cifar10, "--data-path", cifar_like, "--output", tmp_path / "noise.npz")
    assert cli("noise", "import", tmp_path / "labels.csv", *arguments)[0] == 0
    return pixels, true, given, test


def start(rows, pixels, true, given, test) -> None:
    places.clear()
    for name, members, images, labels in (
        ("test", rows.test, *test),
        ("noisy_val", rows.noisy_val, pixels, given),
        ("clean_val", rows.clean_val, pixels, true),
    ):
        places.update((images[row].tobytes(), (name, place, int(labels[row]))) for place, row in enumerate(members))


def probability_that_wrong_is_more_suspicious(wrong: np.ndarray, suspicion: np.ndarray) -> float:
    pairs = [(a > b) + 0.5 * (a == b) for a in suspicion[wrong] for b in suspicion[~wrong]]
    return sum(pairs) / len(pairs)


def average_precision(wrong: np.ndarray, suspicion: np.ndarray) -> float:
    return np.mean([wrong[suspicion >= suspicion[row]].mean() for row in np.flatnonzero(wrong)])


def expected_hits(wrong: np.ndarray, suspicion: np.ndarray, flagged: int) -> float:
    """Level by level from the most suspicious down; of a level that does not fit in whole, its share."""
    hits, left = 0.0, flagged
    for level in sorted(set(suspicion), reverse=True):
        members = suspicion == level
        taken = min(left, members.sum())
        hits, left = hits + wrong[members].mean() * taken, left - taken
    return hits


def test_every_number_of_a_run_by_hand(cifar_like, tmp_path, files):
    pixels, true, given, test = files
    rows = split("sealed", SplitInput(true, TEST), SplitSizes(**SIZES), seed=0)
    start(rows, *files)
    noise = f"file:{tmp_path / 'noise.npz'}"
    record = noisybench.run(noisybench.RunConfig(**SHARED, data_path=cifar_like, noise=noise, output=tmp_path / "run"))
    true, given = true[rows.train], given[rows.train]
    wrong = given != true
    assert len(true) == LEFT and 60 < wrong.sum() < 80

    expected: dict[str, list] = {"method/of_the_state": [float(epoch**2) for epoch in range(EPOCHS)]}
    for epoch in range(EPOCHS):
        said = (given + SHIFTS[epoch]) % CLASSES
        estimated = (given + ESTIMATES[epoch]) % CLASSES
        for name, value in {
            "loss": LOSSES[epoch].mean(),  # over images, though the last batch of an epoch is a short one
            "method/square": (LOSSES[epoch] ** 2).mean(),
            "train_accuracy_given": np.mean(said == given),
            "train_accuracy_true": np.mean(said == true),
            "memorised": np.mean(said[wrong] == given[wrong]),
            "label_accuracy_given": np.mean(given == true),
            "label_accuracy_estimated": np.mean(estimated == true),
            "noise_detection_auroc": probability_that_wrong_is_more_suspicious(wrong, SUSPICIONS[epoch]),
            "noise_detection_average_precision": average_precision(wrong, SUSPICIONS[epoch]),
            "noise_detection_f1": expected_hits(wrong, SUSPICIONS[epoch], wrong.sum()) / wrong.sum(),
            # The file states that a third of all images are labelled wrongly; of the train set it is another share.
            "noise_detection_fnr": 1 - expected_hits(wrong, SUSPICIONS[epoch], round(LEFT / 3)) / wrong.sum(),
        }.items():
            expected.setdefault(name, []).append(value)
    for head, sets in RIGHT.items():
        for name, right in sets.items():
            size = {"test": TEST, "noisy_val": 30, "clean_val": 20}[name]
            expected[f"{name}_accuracy" + ("" if head == "first" else f"/{head}")] = [n / size for n in right]
    assert record.curves.keys() == {*expected, "learning_rate"}
    for name, values in expected.items():
        assert record.curves[name] == pytest.approx(values), name

    for head, rules in RULES.items():
        assert record.heads[head] == pytest.approx({f"test_accuracy_{rule}": value for rule, value in rules.items()})
    labels = [name for name in expected if name.startswith(("label_accuracy", "noise_detection"))]
    assert len(labels) == 6
    assert record.metrics == pytest.approx({**record.heads["first"], **{name: expected[name][-1] for name in labels}})
    assert record.noise["achieved_rate"] == pytest.approx(100 / TRAIN)
    assert record.noise["achieved_rate_train_set"] == pytest.approx(wrong.mean())

    table = pyarrow.parquet.read_table(tmp_path / "run" / "labels.parquet").to_pydict()
    order = sorted(range(LEFT), key=lambda row: (-SUSPICIONS[-1][row], rows.train[row]))
    assert table["index"] == rows.train[order].tolist()
    assert table["given_label"] == given[order].tolist()
    assert table["estimated_label"] == ((given + ESTIMATES[-1]) % CLASSES)[order].tolist()
    assert table["suspicion"] == SUSPICIONS[-1][order].tolist()
    assert np.allclose([soft[k] for soft, k in zip(table["soft_label"], table["estimated_label"], strict=True)], 0.91)


def test_what_is_not_defined_is_left_out(cifar_like, tmp_path, files):
    """Without a wrong label nothing can be memorised or detected; without a validation set no rule can use it."""
    pixels, true, given, test = files
    sizes = {"meta_size": 70, "noisy_val_size": 0, "clean_val_size": 20}
    rows = split("sealed", SplitInput(true, TEST), SplitSizes(**sizes), seed=0)
    start(rows, pixels, true, true, test)
    record = noisybench.run(
        noisybench.RunConfig(
            **{**SHARED, **sizes}, data_path=cifar_like, noise="none", noise_rate=0, output=tmp_path / "run"
        )
    )
    assert not any(name.startswith(("memorised", "noisy_val")) for name in record.curves)
    for name in ("auroc", "average_precision", "f1", "fnr"):
        assert record.curves[f"noise_detection_{name}"] == [None] * EPOCHS
    assert record.curves["label_accuracy_given"] == [1.0] * EPOCHS
    assert record.curves["train_accuracy_given"] == record.curves["train_accuracy_true"]
    for head in ("first", "second"):
        assert record.heads[head]["test_accuracy_best_noisy_val"] is None
        assert record.heads[head]["test_accuracy_best_clean_val"] == pytest.approx(RULES[head]["best_clean_val"])
