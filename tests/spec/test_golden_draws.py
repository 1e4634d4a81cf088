"""What the draws that identify a run give, pinned: whoever changes a key or an algorithm makes other runs.

Results are compared over the same images, labels, splits and orders. A golden value below may only change together
with a decision that all earlier runs are no longer comparable. Augmentation is not pinned here.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pyarrow.parquet
import pytest
import torch
import trees
from torch import nn

import noisybench
from noisybench.methods import LabelEstimate, Method, Pass, StepOutput

seen: list[tuple] = []  # what the run's method was given, in order


class Draws(Method):
    """Writes down order and seeds; two epochs of two passes."""

    needs = frozenset({"meta_set"})

    def build(self):
        self.network = nn.Linear(1, 1)

    def epoch_plan(self, epoch):
        rows = torch.arange(len(self.context.given_labels))
        return [Pass(), Pass(rows=rows[::2], paired_rows=rows[1::2])]

    def training_step(self, batch):
        seen.append(
            (
                batch.index.tolist(),
                [] if batch.paired is None else batch.paired.index.tolist(),
                batch.meta_labels.tolist(),
                torch.initial_seed(),
                int(self.context.generator("golden", batch.step, "x").integers(2**62)),
            )
        )
        return StepOutput(torch.zeros(()))

    def predict(self, images, head):
        return torch.ones(len(images), self.context.num_classes)

    def estimate_labels(self):
        soft = nn.functional.one_hot(self.context.given_labels, self.context.num_classes).float()
        return LabelEstimate(soft, torch.zeros(len(soft)))


class DrawsWithoutMetaSet(Draws):
    needs = frozenset()

    def training_step(self, batch):
        return StepOutput(torch.zeros(()))


def sha256(values) -> str:
    """Of whole numbers (little-endian int64) or of texts, the first 16 hex digits."""
    if len(values) and isinstance(values[0], str):
        return hashlib.sha256("\n".join(values).encode()).hexdigest()[:16]
    return hashlib.sha256(np.asarray(values).astype("<i8").tobytes()).hexdigest()[:16]


def run(tmp_path, **changes):
    seen.clear()
    given = {"method": "test_golden_draws:Draws", "epochs": 1, "seed": 0, "output": tmp_path / "run"}
    return noisybench.run(noisybench.RunConfig(**{**given, **changes}))


DIGITS = {  # limit_train -> the images kept, with digits' test part: sha256 over pixels and labels
    None: "8f4591ad180b66c8",
    700: "99ad4a7cefc93ef7",
    400: "01db4f1785d5c0fa",
    50: "53a9d7f2195d8d9f",
}


@pytest.mark.parametrize("limit", DIGITS)
def test_the_images_of_digits_and_those_a_limit_keeps(tmp_path, limit):
    sizes = {"meta_size": 10, "noisy_val_size": 10, "clean_val_size": 10}
    record = run(tmp_path, limit_train=limit, **sizes)
    assert record.fingerprints.dataset[:16] == DIGITS[limit]


def test_synthetic_images(tmp_path):
    assert run(tmp_path, dataset="synthetic").fingerprints.dataset[:16] == "2d3361449f0e6659"


SPLITS = {  # (protocol, seed) on digits with the sizes of its card
    ("sealed", 0): "36cfe4876a938f53",
    ("sealed", 7): "ce6e78c8aa8edfc1",
    ("authors", 0): "2a1d03d3a7aff55a",
    ("authors", 7): "7fc18131b7e5d8f1",
}


@pytest.mark.parametrize(("protocol", "seed"), SPLITS)
def test_splits(tmp_path, protocol, seed):
    record = run(tmp_path, protocol=protocol, seed=seed)
    assert record.fingerprints.split[:16] == SPLITS[protocol, seed]


NOISES = {  # (noise, protocol, seed) at rate 0.37: the labels given to digits' train part
    ("symmetric", "sealed", 0): "2bdacc7b27da0e4e",
    ("symmetric", "sealed", 7): "b92ea8991652b48b",
    ("symmetric", "authors", 0): "b0d45cef22e90781",
    ("symmetric-inclusive", "sealed", 0): "9814c7e42db47c6f",
    ("asymmetric", "sealed", 0): "2296b87ed742170c",
    ("asymmetric", "authors", 0): "9f30e456f6093628",
    ("pair-flip", "sealed", 0): "d4bb2ebdc7462ea2",
    ("class-dependent", "sealed", 0): "4d63c718b28c0ad5",
    ("class-dependent", "authors", 0): "5521a10264510a74",
    ("feature-dependent", "sealed", 0): "9aae90e22dd6ae3a",
    ("instance-dependent", "sealed", 0): "bc485264fd9b2368",
    ("instance-dependent", "sealed", 7): "d5e6af2a239997a0",
    ("instance-dependent-normalised", "sealed", 0): "7463740f1c1f7667",
    ("instance-dependent-normalised", "sealed", 7): "feb80bae665c0456",
    ("pmd-1", "sealed", 0): "90b1aaa77a753627",
    ("pmd-2", "sealed", 0): "87c0aa68838b6d28",
    ("pmd-3", "sealed", 7): "771e1e14f16f106d",
}


def noise_file(cli, tmp_path, noise: str):
    """What a noise reads: a matrix, or predictions without ties or numbers near a threshold."""
    if noise == "class-dependent":
        numbers = (np.arange(100).reshape(10, 10) * 7) % 11 + 1 + 40 * np.eye(10)
        np.savetxt(tmp_path / "file.csv", numbers / numbers.sum(1, keepdims=True), delimiter=",", fmt="%.17g")
        return f":{tmp_path / 'file.csv'}"
    if noise.startswith(("feature", "pmd")):
        made = cli("noise", "make", "--noise", "symmetric", "--noise-rate", 0, "--output", tmp_path / "clean.npz")
        clean = np.load(tmp_path / "clean.npz")["clean"]
        assert made[0] == 0
        numbers = (np.arange(len(clean) * 10).reshape(-1, 10) * 7919) % 14407 + 1.0
        numbers[np.arange(len(clean)), clean] += 9000.0
        np.savez(tmp_path / "file.npz", probabilities=numbers / numbers.sum(1, keepdims=True), clean=clean)
        return f":{tmp_path / 'file.npz'}"
    return ""


@pytest.mark.parametrize(("noise", "protocol", "seed"), NOISES)
def test_noise(cli, tmp_path, noise, protocol, seed):
    file = noise_file(cli, tmp_path, noise)
    rate = () if noise == "class-dependent" else ("--noise-rate", "0.37")
    options = ("--protocol", protocol, "--seed", seed, "--output", tmp_path / "noise.npz")
    code, _, err = cli("noise", "make", "--noise", noise + file, *rate, *options)
    assert code == 0, err
    assert sha256(np.load(tmp_path / "noise.npz")["noisy"]) == NOISES[noise, protocol, seed]


def test_a_run_draws_its_noise_by_the_noise_seed(tmp_path):
    run(tmp_path, noise_rate=0.37, noise_seed=7, seed=1)
    assert sha256(np.load(tmp_path / "run" / "noise.npz")["noisy"]) == NOISES["symmetric", "sealed", 7]


ORDERS = {  # seed: order of rows, of paired rows, of the meta set; torch's seed in each step; a method's own draws
    0: ("8af2bcd60651b7fb", "21f8dd50fed0bd8e", "3a5f51c5d3a59b74", "4a8d328482cab0d8", "db129ea45d1909e0"),
    7: ("903b649f7e9a329c", "6fa75a14e3281ca1", "5429255e461c977b", "749e39214ed0734c", "f4395fa866866ef6"),
}


@pytest.mark.parametrize("seed", ORDERS)
def test_order_and_seeds_of_training(tmp_path, seed):
    run(tmp_path, limit_train=300, seed=seed, epochs=2, batch_size=32, meta_size=20)
    index, paired, meta, step_seeds, of_method = zip(*seen, strict=True)
    found = [[row for batch in batches for row in batch] for batches in (index, paired, meta)]
    assert len(set(step_seeds)) == len(set(of_method)) == len(seen)
    found += [np.array(step_seeds, dtype=np.uint64), of_method]
    assert tuple(map(sha256, found)) == ORDERS[seed]


def test_the_test_part_of_own_images(tmp_path):
    """A fifth of the unchecked ones, whatever the seed; and which checked images are meta set and validation."""
    root, checked, _ = trees.photos(tmp_path / "photos", per_class=30, checked=6, side=12)
    own = {
        "dataset": f"imagefolder:{root}",
        "clean_labels": checked,
        "image_size": 16,
        "noisy_val_size": 5,
        "workers": 0,
    }
    sealed = run(tmp_path, **own, seed=3)
    files = sorted(pyarrow.parquet.read_table(tmp_path / "run" / "labels.parquet").to_pydict()["file"])
    assert (sha256(files), sealed.fingerprints.split[:16]) == ("118f4d82a4e4c3d3", "a1a4b5051b4c9dda")
    authors = run(tmp_path, **own, seed=3, protocol="authors", output=tmp_path / "authors")
    assert authors.fingerprints.split[:16] == "3da3d056becb34fe"


def test_the_images_of_clothing1m_balanced(tmp_path, small_set):
    root = trees.clothing1m(tmp_path / "clothing", noisy=160)
    name = small_set("clothing1m-balanced", root)
    changes = {"dataset": name, "data_path": root, "image_size": 16, "workers": 0, "noise": "none"}
    sizes = {"meta_size": 0, "noisy_val_size": 0, "clean_val_size": 0}
    run(tmp_path, **changes, **sizes, method="test_golden_draws:DrawsWithoutMetaSet")
    files = sorted(pyarrow.parquet.read_table(tmp_path / "run" / "labels.parquet").to_pydict()["file"])
    assert (len(files), sha256(files)) == (140, "a496c08641a18416")
