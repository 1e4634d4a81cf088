"""Passes whose batches have sizes of their own."""

from __future__ import annotations

import numpy as np
import torch
from worlds import process

from noisybench.data.augment import Normalizer
from noisybench.data.datasets import Images
from noisybench.data.loader import BatchOrder, Pass, Stream, TrainLoader


def loader(world=None):
    labels = np.arange(20) % 4
    images = Images(torch.arange(20, dtype=torch.uint8).view(20, 1, 1, 1), labels)
    normalize = Normalizer([0.5], [0.5], torch.device("cpu"), torch.float64)
    stream = Stream(images, labels, np.arange(20), None, normalize)
    return TrainLoader(stream, None, BatchOrder(8, 0, shuffled=False), views=1, world=world or process())


def test_a_pass_has_batches_of_its_own_size():
    part = Pass(torch.arange(10), torch.arange(10, 15), batch_size=4, paired_size=3)
    assert loader().num_batches(part) == 3
    batches = list(loader().batches(part, epoch=0, number=0, first_step=5))
    assert [batch.index.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [batch.paired.index.tolist() for batch in batches] == [[10, 11, 12], [13, 14, 10], [11, 12, 13]]
    assert [batch.global_size for batch in batches] == [4, 4, 2]
    assert {batch.paired.global_size for batch in batches} == {3}
    resumed = list(loader().batches(part, epoch=0, number=0, first_step=5, skip=2))
    assert [batch.paired.index.tolist() for batch in resumed] == [[11, 12, 13]]


def test_sizes_are_the_runs_where_the_pass_says_nothing():
    part = Pass(torch.arange(10), torch.arange(10, 15))
    sizes = [
        (len(batch.index), len(batch.paired.index)) for batch in loader().batches(part, epoch=0, number=0, first_step=0)
    ]
    assert sizes == [(8, 8), (2, 8)]


def test_processes_share_both_sizes_out():
    part = Pass(torch.arange(10), torch.arange(10, 15), batch_size=4, paired_size=3)
    halves = [list(loader(process(rank, 2)).batches(part, epoch=0, number=0, first_step=0)) for rank in (0, 1)]
    whole = list(loader().batches(part, epoch=0, number=0, first_step=0))
    for one, two, both in zip(*halves, whole, strict=True):
        assert torch.equal(torch.cat([one.index, two.index]), both.index)
        assert torch.equal(torch.cat([one.paired.index, two.paired.index]), both.paired.index)
