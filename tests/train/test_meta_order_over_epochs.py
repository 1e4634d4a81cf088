"""The meta set runs on from epoch to epoch: every clean image is seen before any comes again."""

from __future__ import annotations

import torch
from torch import nn

import noisybench
from noisybench.methods import Method, StepOutput

META, BATCH, EPOCHS = 50, 16, 3
seen: list[bytes] = []


class SeesMeta(Method):
    needs = frozenset({"meta_set"})

    def build(self):
        self.network = nn.Linear(1, 1)

    def training_step(self, batch):
        seen.extend(image.numpy().tobytes() for image in batch.meta_images)
        return StepOutput(torch.zeros(()))

    def predict(self, images, head):
        return torch.ones(len(images), self.context.num_classes)


def test_a_pass_over_the_meta_set_goes_on_where_the_last_epoch_ended(tmp_path):
    """100 noisy images in batches of 16 are 7 steps, so an epoch sees 112 clean ones: two passes and a part."""
    seen.clear()
    noisybench.run(
        noisybench.RunConfig(
            method="test_meta_order_over_epochs:SeesMeta",
            dataset="synthetic",
            meta_size=META,
            noisy_val_size=25,
            clean_val_size=25,
            batch_size=BATCH,
            epochs=EPOCHS,
            augment={"crop_padding": 0},
            output=tmp_path / "run",
        )
    )
    assert len(seen) == EPOCHS * 7 * BATCH
    passes = [seen[start : start + META] for start in range(0, len(seen) - META + 1, META)]
    assert all(len(set(images)) == META for images in passes)
    assert len({tuple(images) for images in passes}) == len(passes)  # each in an order of its own
