"""Streamed and resident pixels give the same batches, whatever the number of workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import trees
from accelerate import Accelerator

from noisybench.data import load_dataset
from noisybench.data.augment import Augmenter
from noisybench.data.loader import BatchOrder, Pass, TrainLoader
from noisybench.parallel.world import World
from noisybench.spec import registry
from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve
from noisybench.spec.values import AugmentConfig
from noisybench.train.prepare import prepare, streams

EVERYTHING = {"crop_padding": 2, "horizontal_flip": True, "vertical_flip": True, "meta_set": True}
EVERYTHING["extra"] = {"randaugment": {"operations": 1}}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return trees.clothing1m(tmp_path_factory.mktemp("clothing1m"))


@pytest.fixture(autouse=True)
def _card(root, small_set):
    assert small_set("clothing1m", root) == "small-clothing1m"


def config(root, **given):
    sizes = {"meta_size": 30, "clean_val_size": 10, "noisy_val_size": 14, "image_size": 24}
    return resolve(RunConfig(method="mslg", dataset="small-clothing1m", data_path=root, **sizes, **given))


def all_batches(root, **given):
    """Two epochs' batches: two views (weak and strong), a meta batch each, and a paired batch."""
    settings = config(root, batch_size=16, augment=EVERYTHING, **given)
    data = prepare(settings)
    sets = streams(settings, data, torch.device("cpu"), torch.float32)
    order = BatchOrder(16, seed=3, shuffled=True)
    loader = TrainLoader(sets.train, sets.meta, order, views=("weak", "strong"), world=World(Accelerator()))
    part = Pass(rows=torch.arange(5, 75), paired_rows=torch.arange(0, 20))
    found = []
    for epoch in range(2):
        found += loader.batches(part, epoch=epoch, number=0, first_step=epoch * loader.num_batches(part))
    return data, sets, found


def flat(batch):
    tensors = [batch.index, *batch.views, batch.labels, batch.meta_images, batch.meta_labels]
    return tensors if batch.paired is None else [*tensors, batch.paired.index, *batch.paired.views]


def test_resident_and_streamed_batches_are_identical_for_any_workers(root):
    data, sets, resident = all_batches(root)
    assert data.dataset.resident and len(resident) == 2 * 5
    assert resident[0].views[0].shape == (16, 3, 24, 24)
    assert not torch.equal(resident[0].views[0], resident[0].views[1])
    for workers in (0, 1, 3):
        streamed_data, streamed_sets, streamed = all_batches(root, memory_budget=0, workers=workers)
        assert not streamed_data.dataset.resident
        for expected, batch in zip(resident, streamed, strict=True):
            for one, other in zip(flat(expected), flat(batch), strict=True):
                assert torch.equal(one, other) if one is not None else other is None
        assert streamed_data.dataset.fingerprint() == data.dataset.fingerprint()
        for name in ("test", "noisy_val", "clean_val"):
            one, other = getattr(sets, name), getattr(streamed_sets, name)
            for (rows, images), (other_rows, others) in zip(
                one.sweep(slice(3, 9)), other.sweep(slice(3, 9)), strict=True
            ):
                assert torch.equal(rows, other_rows) and torch.equal(images, others)


def test_sweep_covers_a_part_in_order(root):
    _, sets, _ = all_batches(root, memory_budget=0, workers=0)
    rows = torch.cat([rows for rows, _ in sets.test.sweep(slice(None))])
    assert rows.tolist() == list(range(28))
    assert torch.equal(next(sets.test.sweep(slice(4, 8)))[1], sets.test.images(slice(4, 8)))


def test_batches_hold_the_images_of_their_rows(root):
    """Against a decode by hand, without any of the loader's code."""
    from PIL import Image

    _, _, batches = all_batches(root, memory_budget=0, workers=2)
    settings = config(root)
    data = prepare(settings)
    row = int(data.splits.train[int(batches[0].index[0])])
    file = root / f"images/{row % 10}/noisy_train_{row}.jpg"
    side = round(256 * 24 / 224)  # 27: 30 is the shorter side of 40×30
    picture = Image.open(file).convert("RGB")
    assert data.dataset.train.pixels.file(row) == str(file.relative_to(root))
    resized = picture.resize((int(40 * side / 30), side), Image.Resampling.BILINEAR)
    left, top = round((resized.width - 24) / 2), round((resized.height - 24) / 2)
    expected = np.asarray(resized.crop((left, top, left + 24, top + 24))).transpose(2, 0, 1)
    assert np.array_equal(data.dataset.train.pixels.fetch(np.array([row]))[0].numpy(), expected)
    assert batches[0].labels[0] == (row % 14 + (row % 3 == 0)) % 14


def test_a_streamed_hub_set_has_the_resident_ones_pixels_and_fingerprint(cifar_like, small_cifar10):
    card = registry.dataset_card(small_cifar10)
    options = {"data_path": cifar_like, "image_size": 20, "limit_train": 40}
    resident = load_dataset(card, **options)
    streamed = load_dataset(card, **options, budget_mb=0)
    assert resident.resident and not streamed.resident
    rows = np.array([7, 3, 3, 39])
    assert torch.equal(resident.train.pixels.fetch(rows), streamed.train.pixels.fetch(rows))
    assert resident.fingerprint() == streamed.fingerprint()


def test_streaming_leaves_the_global_generator_alone(root):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    all_batches(root, memory_budget=0, workers=2)
    assert torch.equal(torch.rand(3), expected)


def test_strong_views_are_a_function_of_the_sample():
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (6, 3, 16, 16), dtype=np.uint8))
    sample = torch.arange(10, 16)
    augment = Augmenter(AugmentConfig(), 16, 0, "p", torch.device("cpu"))
    whole = augment(images, sample, (1,), "strong")
    assert torch.equal(whole[[4, 2]], augment(images[[4, 2]], sample[[4, 2]], (1,), "strong"))
    assert not torch.equal(whole, augment(images, sample, (2,), "strong"))
    assert not torch.equal(whole, images)
