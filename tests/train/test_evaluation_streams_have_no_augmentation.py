"""The sets that only measure cannot be augmented, whichever way they are asked for their images."""

from __future__ import annotations

import pytest
import torch

import noisybench
from noisybench.spec.layers import resolve
from noisybench.train.prepare import prepare, streams


@pytest.mark.parametrize("protocol", ["sealed", "authors"])
def test_validation_and_test_sets_have_no_augmentation(protocol):
    """Evaluation asks for plain images today; a set that carried an augmentation would wait for it to ask otherwise."""
    augment = {"crop_padding": 2, "horizontal_flip": True, "vertical_flip": True, "meta_set": True}
    sizes = {"meta_size": 50, "noisy_val_size": 50, "clean_val_size": 50}
    config = resolve(noisybench.RunConfig(method="ce", protocol=protocol, augment=augment, **sizes))
    sets = streams(config, prepare(config), torch.device("cpu"), torch.float32)
    augmented = {}
    for name in ("train", "meta", "noisy_val", "clean_val", "test"):
        stream = getattr(sets, name)
        if stream is not None:
            rows = torch.arange(len(stream))
            augmented[name] = not torch.equal(stream.view(rows, (0, 0)), stream.images(rows))
    validations = {"noisy_val": False} if protocol == "sealed" else {}
    assert augmented == {"train": True, "meta": True, **validations, "clean_val": False, "test": False}
