"""An image's crop and flip are drawn anew in every epoch, pass and view, and by the run's seed.

How the draws are keyed is not pinned here: only that no two occasions share them.
"""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

import noisybench
from noisybench.methods import Method, Pass, StepOutput

META, BATCH, EPOCHS = 40, 20, 2
views: dict[tuple, dict[int, bytes]] = {}  # (epoch, pass, of what, view) -> row -> image
meta: list[tuple[int, bytes]] = []  # (label, image) of the meta set in order


class Sees(Method):
    needs = frozenset({"meta_set"})
    views = 2

    def build(self):
        self.network = nn.Linear(1, 1)

    def epoch_plan(self, epoch):
        rows = torch.arange(len(self.context.given_labels))
        return [Pass(tag=0), Pass(rows=rows, paired_rows=rows[:40], tag=1)]

    def training_step(self, batch):
        for what, part in (("own", batch), ("paired", batch.paired)):
            for view, images in enumerate(part.views if part is not None else []):
                found = views.setdefault((batch.epoch, batch.tag, what, view), {})
                for row, image in zip(part.index.tolist(), images, strict=True):
                    found.setdefault(row, image.numpy().tobytes())
        pairs = zip(batch.meta_labels.tolist(), batch.meta_images, strict=True)
        meta.extend((label, image.numpy().tobytes()) for label, image in pairs)
        return StepOutput(torch.zeros(()))

    def predict(self, images, head):
        return torch.ones(len(images), self.context.num_classes)


def seen(folder, seed: int) -> dict[tuple, dict[int, bytes]]:
    views.clear()
    meta.clear()
    noisybench.run(
        noisybench.RunConfig(
            method="test_augmentation_is_drawn_anew:Sees",
            dataset="synthetic",
            seed=seed,
            order="sequential",
            meta_size=META,
            noisy_val_size=20,
            clean_val_size=20,
            batch_size=BATCH,
            epochs=EPOCHS,
            augment={"crop_padding": 3, "horizontal_flip": True},
            output=folder,
        )
    )
    return dict(views)


def share_equal(one: dict[int, bytes], other: dict[int, bytes]) -> float:
    """Of the rows that both have; one in 98 by chance."""
    rows = one.keys() & other.keys()
    assert len(rows) >= 40
    return sum(one[row] == other[row] for row in rows) / len(rows)


def test_no_two_epochs_passes_or_views_share_their_draws(tmp_path):
    found = seen(tmp_path / "run", seed=0)
    assert len(found) == EPOCHS * (2 + 2 + 2)  # two passes and the rows beside the second, two views each
    for one, other in itertools.combinations(found, 2):
        assert share_equal(found[one], found[other]) < 0.2, (one, other)


def test_passes_over_the_meta_set_do_not_share_their_draws(tmp_path):
    """In sequential order each pass has the same images in the same places."""
    seen(tmp_path / "run", seed=0)
    passes = [meta[start : start + META] for start in range(0, len(meta) - META + 1, META)]
    assert len(passes) >= 4
    for one, other in itertools.combinations(passes, 2):
        assert [label for label, _ in one] == [label for label, _ in other]
        assert share_equal(dict(enumerate(one)), dict(enumerate(other))) < 0.2


def test_the_same_seed_draws_the_same(tmp_path):
    assert seen(tmp_path / "a", seed=3) == seen(tmp_path / "b", seed=3)


@pytest.mark.parametrize("purpose", ["own", "meta"])
def test_another_seed_draws_otherwise(tmp_path, purpose):
    """Over the whole train part and the whole meta set, whatever rows each seed's split has."""
    first, first_meta = seen(tmp_path / "a", seed=0), {image for _, image in meta}
    other, other_meta = seen(tmp_path / "b", seed=1), {image for _, image in meta}
    if purpose == "meta":
        assert len(first_meta & other_meta) < 0.2 * len(first_meta)
        return
    images = [{image for found in each.values() for image in found.values()} for each in (first, other)]
    assert len(images[0] & images[1]) < 0.2 * len(images[0])
