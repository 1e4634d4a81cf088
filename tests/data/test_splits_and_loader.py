"""Splits, augmentation and the resident loader: who sees what, when, and how it is drawn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as transforms
from worlds import process

from noisybench.core import rng
from noisybench.core.errors import UserError
from noisybench.core.shares import largest_remainder, stratified_draw
from noisybench.data import Images, SplitInput, split
from noisybench.data.augment import Augmenter, Normalizer
from noisybench.data.loader import BatchOrder, Endless, Pass, Stream, TrainLoader
from noisybench.spec.cards import SplitSizes
from noisybench.spec.values import AugmentConfig

CPU = torch.device("cpu")


def sizes_of(meta, noisy_val, clean_val) -> SplitSizes:
    return SplitSizes(meta_size=meta, noisy_val_size=noisy_val, clean_val_size=clean_val)


def sizes(labels, rows):
    return np.bincount(labels[rows], minlength=4).tolist()


def test_largest_remainder_adds_up():
    drawn = np.random.default_rng(0)
    assert largest_remainder(np.array([1.5, 2.7, 0.8]), 5, drawn).tolist() in ([1, 3, 1],)
    assert largest_remainder(np.array([0.5] * 4), 2, drawn).sum() == 2


def test_sealed_parts_are_disjoint_stratified_and_complete():
    labels = np.repeat(np.arange(4), [40, 80, 120, 160])
    parts = split("sealed", SplitInput(labels, 50), sizes_of(40, 20, 20), seed=3)
    used = np.concatenate([parts.train, parts.meta, parts.noisy_val, parts.clean_val])
    assert sorted(used.tolist()) == list(range(400))
    assert sizes(labels, parts.meta) == [4, 8, 12, 16]
    assert sizes(labels, parts.noisy_val) == [2, 4, 6, 8]
    assert parts.test.tolist() == list(range(50))
    again = split("sealed", SplitInput(labels, 50), sizes_of(40, 20, 20), seed=3)
    assert again.fingerprint() == parts.fingerprint()
    other = split("sealed", SplitInput(labels, 50), sizes_of(40, 20, 20), seed=4)
    assert other.fingerprint() != parts.fingerprint()


def test_sealed_parts_must_leave_a_train_set():
    with pytest.raises(UserError, match=r"meta_size 90 \+ clean_val_size 5 \+ noisy_val_size 5 = 100 leave nothing"):
        split("sealed", SplitInput(np.zeros(100, int), 10), sizes_of(90, 5, 5), seed=0)


def test_authors_split_is_theirs():
    parts = split("authors", SplitInput(np.zeros(50000, int), 10000), sizes_of(4000, 0, 0), seed=42)
    permuted = np.random.RandomState(42).permutation(10000)
    assert permuted[:5].tolist() == [6252, 4684, 1731, 4742, 4521]  # the first test indices of specs
    assert parts.test.tolist() == sorted(permuted[:5000].tolist())
    rest = permuted[5000:]
    meta = rest[np.random.RandomState(42).permutation(5000)[:4000]]
    assert meta[:5].tolist() == [6520, 4501, 8188, 8695, 2704]
    assert parts.meta.tolist() == sorted(meta.tolist())
    assert len(parts.clean_val) == 1000 and len(parts.train) == 50000 and len(parts.noisy_val) == 0
    assert not set(parts.clean_val) & (set(parts.meta) | set(parts.test))


def test_authors_split_class_counts(shared):
    table = pytest.importorskip("pyarrow.parquet").read_table(
        shared / "data" / "cifar10" / "test-00000-of-00001.parquet", columns=["label"]
    )
    labels = np.array(table["label"])
    parts = split("authors", SplitInput(np.zeros(50000, int), 10000), sizes_of(4000, 0, 0), seed=42)
    assert np.bincount(labels[parts.test]).tolist() == [479, 486, 525, 500, 506, 478, 511, 528, 489, 498]
    assert np.bincount(labels[parts.meta]).tolist() == [419, 426, 388, 401, 376, 421, 388, 380, 411, 390]


def test_stratified_draw_keeps_proportions():
    labels = np.repeat(np.arange(4), [10, 20, 30, 40])
    rows = stratified_draw(labels, 50, np.random.default_rng(0))
    assert sizes(labels, rows) == [5, 10, 15, 20] and len(set(rows.tolist())) == 50


def test_normalizer_is_mean_and_standard_deviation():
    images = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    found = Normalizer([0.1, 0.2, 0.3], [0.5, 0.6, 0.7], CPU, torch.float64)(images)
    expected = transforms.normalize(images.double() / 255, [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    torch.testing.assert_close(found, expected)


def augmenter(**changes):
    return Augmenter(AugmentConfig(crop_padding=2, horizontal_flip=True, **changes), 100, 0, "augment", CPU)


def test_augmentation_belongs_to_the_sample_not_to_the_batch():
    images, sample = torch.randint(0, 256, (100, 3, 8, 8), dtype=torch.uint8), torch.arange(100)
    whole = augmenter()(images, sample, (4, 0))
    some = torch.tensor([17, 3, 99])
    assert torch.equal(augmenter()(images[some], some, (4, 0)), whole[some])
    assert not torch.equal(augmenter()(images, sample, (5, 0)), whole)
    assert not torch.equal(augmenter()(images, sample, (4, 1)), whole)


def test_flips_are_fair_and_vertical_only_if_asked():
    images = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2).expand(2000, 1, 2, 2)
    sample = torch.arange(2000)
    flip = AugmentConfig(horizontal_flip=True)
    flipped = Augmenter(flip, 2000, 0, "augment", CPU)(images, sample, (0,))
    assert {tuple(image.flatten().tolist()) for image in flipped} == {(0, 1, 2, 3), (1, 0, 3, 2)}
    share = float((flipped[:, 0, 0, 0] == 1).float().mean())
    assert 0.45 < share < 0.55
    both = Augmenter(AugmentConfig(horizontal_flip=True, vertical_flip=True), 2000, 0, "augment", CPU)
    assert len({tuple(image.flatten().tolist()) for image in both(images, sample, (0,))}) == 4


def stream(size=23, augment=None):
    pixels = torch.randint(0, 256, (size, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    labels = np.arange(size) % 4
    return Stream(
        Images(pixels, labels), labels, np.arange(size), augment, Normalizer([0.5], [0.5], CPU, torch.float32)
    )


def loader(world=None, meta=True, **changes):
    order = BatchOrder(**{"batch_size": 5, "seed": 1, "shuffled": True} | changes)
    return TrainLoader(stream(), stream(7) if meta else None, order, views=1, world=world or process())


def test_every_sample_once_an_epoch_in_a_keyed_order():
    orders = []
    for epoch in (0, 1, 0):
        batches = list(loader().batches(Pass(), epoch=epoch, number=0, first_step=0))
        assert [len(b.index) for b in batches] == [5, 5, 5, 5, 3] and batches[-1].global_size == 3
        orders.append(torch.cat([b.index for b in batches]).tolist())
        assert sorted(orders[-1]) == list(range(23))
    assert orders[0] == orders[2] != orders[1]
    sequential = loader(shuffled=False).batches(Pass(), epoch=3, number=0, first_step=0)
    assert torch.cat([b.index for b in sequential]).tolist() == list(range(23))


def batch_sizes(part: Pass, **changes) -> list[int]:
    made = loader(**changes)
    found = list(made.batches(part, epoch=0, number=0, first_step=3))
    assert len(found) == made.num_batches(part)
    return [len(batch.index) for batch in found]


def test_a_last_batch_of_one_joins_the_one_before_it():
    rows = torch.arange(21)
    assert batch_sizes(Pass(rows=rows)) == [5, 5, 5, 6]
    assert batch_sizes(Pass(rows=rows[:6])) == [6] and batch_sizes(Pass(rows=rows[:1])) == [1]
    assert batch_sizes(Pass(rows=rows), batch_size=1) == [1] * 21
    assert batch_sizes(Pass(), smallest=4) == [5, 5, 5, 8]  # two parts of at least two
    whole = list(loader().batches(Pass(rows=rows), epoch=0, number=0, first_step=0))
    assert sorted(torch.cat([batch.index for batch in whole]).tolist()) == list(range(21))
    assert whole[-1].global_size == 6 and len(whole[-1].meta_images) == 5
    (last,) = loader().batches(Pass(rows=rows), epoch=0, number=0, first_step=0, skip=3)
    assert torch.equal(last.index, whole[-1].index) and torch.equal(last.meta_images, whole[-1].meta_images)
    parts = [
        list(loader(process(rank, 2)).batches(Pass(rows=rows), epoch=0, number=0, first_step=0)) for rank in (0, 1)
    ]
    assert torch.equal(torch.cat([part[-1].index for part in parts]), whole[-1].index)


def test_a_pass_in_larger_batches():
    rows = torch.arange(23)
    assert batch_sizes(Pass(batch_size=10)) == [10, 10, 3]
    assert batch_sizes(Pass(rows=rows[:21], batch_size=10)) == [10, 11]
    single = torch.cat([b.index for b in loader().batches(Pass(), epoch=0, number=0, first_step=0)])
    double = list(loader().batches(Pass(batch_size=10), epoch=0, number=0, first_step=0))
    assert torch.equal(torch.cat([b.index for b in double]), single)  # the order is the same
    assert [len(b.meta_images) for b in double] == [5, 5, 5]  # and the meta stream keeps its step
    paired = list(
        loader().batches(Pass(rows, rows[:4], batch_size=10, paired_size=10), epoch=0, number=0, first_step=0)
    )
    assert [len(b.paired.index) for b in paired] == [10, 10, 10] == [b.paired.global_size for b in paired]
    in_turn = torch.cat([b.paired.index for b in paired])
    assert all(sorted(in_turn[i : i + 4].tolist()) == [0, 1, 2, 3] for i in range(0, 28, 4))


def test_skipping_batches_leaves_the_rest_as_they_were():
    whole = list(loader().batches(Pass(), epoch=2, number=0, first_step=10))
    rest = list(loader().batches(Pass(), epoch=2, number=0, first_step=10, skip=2))
    assert [b.step for b in whole] == [10, 11, 12, 13, 14]
    for a, b in zip(whole[2:], rest, strict=True):
        assert a.step == b.step and torch.equal(a.index, b.index)
        assert torch.equal(a.images, b.images) and torch.equal(a.meta_images, b.meta_images)


def test_processes_share_a_batch_without_loss_or_repeat():
    augment = AugmentConfig(crop_padding=1, horizontal_flip=True, vertical_flip=True)

    def batches(world=None):
        both = (stream(size, Augmenter(augment, size, 0, "augment", CPU)) for size in (23, 7))
        made = TrainLoader(*both, BatchOrder(5, seed=1, shuffled=True), views=2, world=world or process(0, 1))
        return list(made.batches(Pass(), epoch=1, number=0, first_step=0))

    whole, parts = batches(), [batches(process(rank, 2)) for rank in (0, 1)]
    for number, batch in enumerate(whole):
        for name in ("index", "images", "labels", "meta_images", "meta_labels"):
            both = torch.cat([getattr(part[number], name) for part in parts])
            assert torch.equal(both, getattr(batch, name)), name


def test_a_processs_share_is_its_part_of_the_rows():
    shares = [process(rank, 3).share_of(7, 10) for rank in range(3)]
    assert [share.of_batch for share in shares] == [2 / 7, 2 / 7, 3 / 7]
    assert [share.of_meta for share in shares] == [3 / 10, 3 / 10, 4 / 10]
    assert not any(share.alone for share in shares)
    alone = process(1, 3).share_of(2, 10)  # fewer rows than processes: each computes all of them
    assert (alone.of_batch, alone.of_meta, alone.alone) == (1.0, 1.0, True)
    world = process(1, 3)
    with world.computing(shares[1]):
        assert (world.share, world.meta_share, world.alone) == (2 / 7, 3 / 10, False)
        with world.computing(alone):
            assert world.alone and world.part(8) == slice(0, 8)
        assert not world.alone and world.part(8) == slice(2, 5)


def test_no_batch_changes_the_world():
    world = process(1, 2)
    before = dict(vars(world))
    for batch in loader(world).batches(Pass(), epoch=0, number=0, first_step=0):
        assert vars(world) == before and len(batch.index) in (2, 3)
    assert vars(world) == before


def test_meta_batches_run_through_reshuffled_passes():
    batches = list(loader().batches(Pass(), epoch=0, number=0, first_step=0))
    seen = torch.cat([b.meta_images for b in batches]).flatten(1)
    assert len(seen) == 25  # the meta batch keeps its size also beside a short last batch
    meta = stream(7).images(slice(None)).flatten(1)
    rows = [(meta == image).all(1).nonzero().item() for image in seen]
    for start in (0, 7, 14):
        assert sorted(rows[start : start + 7]) == list(range(7))
    assert rows[:7] != rows[7:14]


def test_passes_over_parts_with_paired_rows():
    part = Pass(rows=torch.tensor([1, 3, 5, 7, 9, 11, 13]), paired_rows=torch.tensor([0, 2, 4]), tag=1)
    batches = list(loader(meta=False).batches(part, epoch=0, number=1, first_step=0))
    assert sorted(torch.cat([b.index for b in batches]).tolist()) == [1, 3, 5, 7, 9, 11, 13]
    assert all(b.tag == 1 and b.meta_images is None for b in batches)
    paired = torch.cat([b.paired.index for b in batches]).tolist()
    assert len(paired) == 10 and sorted(paired[:3]) == sorted(paired[3:6]) == [0, 2, 4]
    assert all(torch.equal(b.paired.labels, b.paired.index % 4) for b in batches)


def test_views_differ_and_are_keyed():
    train = stream(23, Augmenter(AugmentConfig(crop_padding=1), 23, 0, "augment", CPU))
    made = TrainLoader(train, None, BatchOrder(23, seed=0, shuffled=True), views=2, world=process())
    first, again = (next(made.batches(Pass(), epoch=0, number=0, first_step=0)) for _ in range(2))
    assert not torch.equal(first.views[0], first.views[1])
    assert torch.equal(first.views[0], again.views[0]) and torch.equal(first.views[1], again.views[1])


def test_endless_is_a_function_of_the_position():
    def made():
        return Endless(np.arange(6), BatchOrder(4, seed=0, shuffled=True), key=("x",))

    walked, jumped = made(), made()
    for start in range(0, 60, 4):
        last = walked.at(np.arange(start, start + 4))
    jump = jumped.at(np.arange(56, 60))
    assert [(n, rows.tolist()) for n, rows in last] == [(n, rows.tolist()) for n, rows in jump]


def test_keys_tell_purposes_apart():
    assert rng.key(0, "a", 1) != rng.key(0, "a", 2) != rng.key(1, "a", 1) != rng.key(0, "b", 1)
    assert rng.permutation(50, 0, "a").tolist() == rng.permutation(50, 0, "a").tolist()
