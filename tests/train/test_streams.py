"""Which images, labels and augmentation each stream of a run carries: train, meta, both validations and test.

Everything is compared with the pixels as they lie on disk, the run's noise file and the split, by hand.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image
from watching import Watched, start_watching

import noisybench
from noisybench.data import SplitInput, split
from noisybench.spec.cards import SplitSizes

CIFAR = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
SIZES = {"meta_size": 40, "noisy_val_size": 30, "clean_val_size": 20}
CHECKED_SIZES = {"meta_size": 24, "noisy_val_size": 10, "clean_val_size": 6}  # a fifth of 30 checked ones selects


@dataclass
class Part:
    """Images N×C×H×W uint8 with their labels, and the names of their files where they are files."""

    pixels: np.ndarray
    labels: np.ndarray
    names: list[str] | None = None

    def take(self, rows: np.ndarray) -> Part:
        return Part(self.pixels[rows], self.labels[rows])


def parquet_part(folder: Path, name: str) -> Part:
    """A part of a dataset in the Hub's form, read without any of noisybench."""
    rows = pyarrow.parquet.read_table(folder / f"{name}-00000-of-00001.parquet").to_pylist()
    images = [np.array(Image.open(io.BytesIO(row["img"]["bytes"]))).transpose(2, 0, 1) for row in rows]
    return Part(np.stack(images), np.array([row["label"] for row in rows]))


def variants(image: np.ndarray, padding: int, horizontal: bool, vertical: bool) -> dict[bytes, tuple]:
    """All crops and flips of an image, by their bytes: (top, left, mirrored, upside down)."""
    padded = np.pad(image, [(0, 0), (padding, padding), (padding, padding)])
    side, found = image.shape[-1], {}
    for top in range(2 * padding + 1):
        for left in range(2 * padding + 1):
            cut = padded[:, top : top + side, left : left + side]
            for mirrored in {False, horizontal}:
                for upside_down in {False, vertical}:
                    flipped = cut[:, :: -1 if upside_down else 1, :: -1 if mirrored else 1]
                    found[np.ascontiguousarray(flipped).tobytes()] = (top, left, mirrored, upside_down)
    return found


def answers(sets: dict[str, Part], classes: int) -> dict[str, dict[bytes, int]]:
    """What each head says of an image: ``right`` knows all; the others are right on their own set and else wrong."""
    told: dict[str, dict[bytes, int]] = {"right": {}}
    for part in sets.values():
        told["right"] |= {image.tobytes(): int(label) for image, label in zip(part.pixels, part.labels, strict=True)}
    for name in ("test", "noisy_val", "clean_val"):
        own = {image.tobytes() for image in sets[name].pixels}
        told[name] = {image: label if image in own else (label + 1) % classes for image, label in told["right"].items()}
    return told


def agree_with_accuracies(record, told, sets: dict[str, Part], labels: dict[str, np.ndarray]) -> None:
    """Every accuracy of the record against the count of right answers over its set."""
    for name, part in sets.items():
        for head, answer in told.items():
            curve = f"{name}_accuracy" if head == "right" else f"{name}_accuracy/{head}"
            said = np.array([answer[image.tobytes()] for image in part.pixels])
            assert record.curves[curve] == [pytest.approx(np.mean(said == labels[name]))] * 2, curve


def agree_with_evaluation(seen: Watched, sets: dict[str, Part], train: Part | None = None) -> None:
    """Every epoch each head predicts the three sets, each image once, as it is on disk.

    Where true labels are known the headline head predicts the noisy train set once, at the end.
    """
    of_sets = [image.tobytes() for part in sets.values() for image in [*part.pixels] * 2]
    of_train = [] if train is None else [image.tobytes() for image in train.pixels]
    for head in ("right", "test", "noisy_val", "clean_val"):
        expected = sorted(of_sets + (of_train if head == "right" else []))
        found = [image.tobytes() for name, images in seen.predicted if name == head for image in seen.pixels(images)]
        # Not all at once: a difference of thousands of images is no message.
        assert len(found) == len(expected)
        assert set(found) == set(expected), f"{head}: an image is not as it is on disk"
        assert sorted(found) == expected, head


def agree_with_training(seen: Watched, train: Part, given: np.ndarray, **augmentation) -> None:
    """Every view of every batch is a crop and flip of its row's image, with the label that row was given."""
    assert seen.given.tolist() == given.tolist()
    places = set()
    allowed = [variants(image, **augmentation) for image in train.pixels]
    for batch in seen.batches:
        assert (batch.tag == 1) == (batch.paired is not None)
        for part in (batch, batch.paired):
            if part is None:
                continue
            rows = part.index.tolist()
            assert part.labels.tolist() == given[rows].tolist()
            for view in part.views:
                found = {allowed[row].get(image.tobytes()) for row, image in zip(rows, seen.pixels(view), strict=True)}
                assert None not in found, "a train image is no such crop or flip of its row's"
                places |= found
    assert places == set(variants(train.pixels[0], **augmentation).values())  # and every crop and flip comes
    whole = [batch for batch in seen.batches if batch.tag == 0]
    assert sorted(row for batch in whole for row in batch.index.tolist()) == sorted([*range(len(given))] * 2)
    for rows, images in seen.swept:  # what a method looks at without training on it is never augmented
        assert np.array_equal(seen.pixels(images), train.pixels[rows.numpy()]), "a full pass is augmented"


def agree_with_meta(seen: Watched, meta: Part, **augmentation) -> None:
    """Every meta image is a crop and flip of one of the meta set, with its true label; all of the set comes."""
    allowed = {
        image: (row, place)
        for row, pixels in enumerate(meta.pixels)
        for image, place in variants(pixels, **augmentation).items()
    }
    rows, places = set(), set()
    for batch in seen.batches:
        found = [allowed.get(image.tobytes()) for image in seen.pixels(batch.meta_images)]
        assert None not in found, "a meta image is no such crop or flip of one of the meta set"
        assert batch.meta_labels.tolist() == [meta.labels[row] for row, _ in found]
        rows |= {row for row, _ in found}
        places |= {place for _, place in found}
    assert rows == set(range(len(meta.labels)))
    assert places == set(variants(meta.pixels[0], **augmentation).values())


PLAIN = {"padding": 0, "horizontal": False, "vertical": False}
AUGMENTATIONS = {
    "crop": ({"crop_padding": 1, "horizontal_flip": False}, {**PLAIN, "padding": 1}),
    "crop-and-mirror": ({"crop_padding": 1, "horizontal_flip": True}, {**PLAIN, "padding": 1, "horizontal": True}),
    "upside-down": (
        {"crop_padding": 0, "horizontal_flip": False, "vertical_flip": True},
        {**PLAIN, "vertical": True},
    ),
    "none": ({"crop_padding": 0, "horizontal_flip": False}, PLAIN),
}


def cifar(folder: Path, output: Path, **changes) -> noisybench.RunConfig:
    given = {"method": "watching:Watching", "dataset": "small-cifar10", "data_path": folder, "noise_rate": 0.4}
    return noisybench.RunConfig(**{**given, "epochs": 2, "batch_size": 64, "output": output, **changes})


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_the_sealed_streams(cifar_like, small_cifar10, tmp_path, augmentation):
    augment, expected = AUGMENTATIONS[augmentation]
    # The meta set is augmented as the train set in the first two, and left alone in the others.
    of_meta = augmentation.startswith("crop")
    train, test = (parquet_part(cifar_like, name) for name in ("train", "test"))
    rows = split("sealed", SplitInput(train.labels, len(test.labels)), SplitSizes(**SIZES), seed=0)
    sets = {"test": test, "noisy_val": train.take(rows.noisy_val), "clean_val": train.take(rows.clean_val)}
    told = answers({"train": train, **sets}, classes=10)
    seen = start_watching(**CIFAR, answers=told)
    config = cifar(cifar_like, tmp_path / "run", **SIZES, augment={**augment, "meta_set": of_meta})
    record = noisybench.run(config)

    assert record.fingerprints.split == rows.fingerprint()
    noise = np.load(tmp_path / "run" / "noise.npz")
    assert noise["clean"].tolist() == train.labels.tolist()
    assert 0.3 < np.mean(noise["noisy"][rows.noisy_val] != noise["clean"][rows.noisy_val]) < 0.5
    labels = {name: part.labels for name, part in sets.items()}
    labels["noisy_val"] = noise["noisy"][rows.noisy_val]
    agree_with_accuracies(record, told, sets, labels)
    agree_with_evaluation(seen, sets, train.take(rows.train))
    agree_with_training(seen, train.take(rows.train), noise["noisy"][rows.train], **expected)
    agree_with_meta(seen, train.take(rows.meta), **(expected if of_meta else PLAIN))


@pytest.mark.parametrize("budget", [4096, 0], ids=["resident", "streamed"])
def test_the_authors_streams(cifar_like, small_cifar10, tmp_path, budget):
    """Their meta set and selection set are halves of the test part, with true labels; no train image is held out."""
    train, test = (parquet_part(cifar_like, name) for name in ("train", "test"))
    sizes = {**SIZES, "noisy_val_size": 0}
    rows = split("authors", SplitInput(train.labels, len(test.labels)), SplitSizes(**sizes), seed=0)
    sets = {"test": test.take(rows.test), "clean_val": test.take(rows.clean_val)}
    told = answers({"train": train, "noisy_val": train, **sets}, classes=10)
    seen = start_watching(**CIFAR, answers=told)
    augment = {"crop_padding": 1, "horizontal_flip": True, "meta_set": True}
    changes = {"protocol": "authors", "augment": augment, "memory_budget": budget, "workers": 0}
    record = noisybench.run(cifar(cifar_like, tmp_path / "run", **sizes, **changes))

    assert record.fingerprints.split == rows.fingerprint()
    assert record.noise["rule"].endswith("the MSLG authors' draw")
    assert not any(name.startswith("noisy_val") for name in record.curves)
    noise = np.load(tmp_path / "run" / "noise.npz")
    agree_with_accuracies(record, told, sets, {name: part.labels for name, part in sets.items()})
    agree_with_evaluation(seen, sets, train)
    augmentation = {"padding": 1, "horizontal": True, "vertical": False}
    agree_with_training(seen, train, noise["noisy"], **augmentation)
    agree_with_meta(seen, test.take(rows.meta), **augmentation)


def own_part(root: Path, name: str, per_class: int, drawn: np.random.Generator) -> Part:
    """PNGs of 18×18 in a folder for each of three classes; what a run of 16×16 sees of them is the centre."""
    pixels, labels, names = [], [], []
    for label in range(3):
        (root / name / f"class{label}").mkdir(parents=True)
        for number in range(per_class):
            image = drawn.integers(0, 256, (18, 18, 3), dtype=np.uint8)
            names.append(f"{name}/class{label}/{number:03}.png")
            Image.fromarray(image).save(root / names[-1])
            pixels.append(image[1:17, 1:17].transpose(2, 0, 1))
            labels.append(label)
    return Part(np.stack(pixels), np.array(labels), names)


@pytest.mark.parametrize("budget", [4096, 0], ids=["resident", "streamed"])
def test_the_streams_of_own_images(tmp_path, budget):
    """The clean sets carry the checked labels, also where they differ from the folder's; the others the folder's."""
    drawn = np.random.default_rng(0)
    train = own_part(tmp_path / "photos", "train", 40, drawn)
    test = own_part(tmp_path / "photos", "test", 7, drawn)
    known = np.full(len(train.labels), -1)
    checked = drawn.permutation(len(train.labels))[:30]
    known[checked] = np.where(drawn.random(30) < 0.4, (train.labels[checked] + 1) % 3, train.labels[checked])
    assert (known[checked] != train.labels[checked]).any()
    with open(tmp_path / "checked.csv", "w", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((train.names[row], f"class{known[row]}") for row in checked)])

    rows = split("sealed", SplitInput(train.labels, len(test.labels), known), SplitSizes(**CHECKED_SIZES), seed=0)
    true = Part(train.pixels, known)
    sets = {"test": test, "noisy_val": train.take(rows.noisy_val), "clean_val": true.take(rows.clean_val)}
    told = answers({"train": train, **sets}, classes=3)
    seen = start_watching(**IMAGENET, answers=told)
    augment = {"crop_padding": 1, "horizontal_flip": True, "meta_set": False}
    run_config = noisybench.RunConfig(
        method="watching:Watching",
        dataset=f"imagefolder:{tmp_path / 'photos'}",
        clean_labels=tmp_path / "checked.csv",
        noisy_val_size=10,
        image_size=16,
        epochs=2,
        batch_size=24,
        augment=augment,
        memory_budget=budget,
        workers=0,
        output=tmp_path / "run",
    )
    record = noisybench.run(run_config)

    assert record.fingerprints.split == rows.fingerprint()
    agree_with_accuracies(record, told, sets, {name: part.labels for name, part in sets.items()})
    agree_with_evaluation(seen, sets)
    augmentation = {"padding": 1, "horizontal": True, "vertical": False}
    agree_with_training(seen, train.take(rows.train), train.labels[rows.train], **augmentation)
    agree_with_meta(seen, true.take(rows.meta), **PLAIN)
