"""The ways in which the kit trains a method."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EPOCHS = 3  # of 150 images in batches of 60, 60 and 30
LEARNING_EPOCHS = 8
BATCH_SIZE = 60


@dataclass(frozen=True)
class Setup:
    """One way to train.

    Attributes:
        title: as it appears in a failure.
        num_classes: C of the synthetic dataset.
        given: the configuration, above the method's card.
        telling: whether images say anything of their labels. Where they do not, no method can learn a true label.
    """

    title: str
    num_classes: int = 10
    given: dict[str, Any] = field(default_factory=dict, hash=False)
    telling: bool = True


REFERENCE = Setup("10 classes, BatchNorm", given={"model": "noisybench_cnn4", "noise_rate": 0.2}, telling=False)
SMALLER = Setup(  # by a held-out part that is larger
    "fewer training samples", given={"model": "noisybench_cnn4", "noise_rate": 0.2, "clean_val_size": 17}, telling=False
)
FLOAT64 = Setup(
    "2 classes, no BatchNorm, float64",
    num_classes=2,
    given={"model": "noisybench_mlp", "noise_rate": 0.2, "precision": "float64"},
)
APART = Setup(  # parts of a batch that are not equal, so that a share that is left out shows
    "several processes",
    given={
        "model": "noisybench_cnn4",
        "noise_rate": 0.2,
        "precision": "float64",
        "sync_batchnorm": True,
        "batch_size": 59,
    },
)
VIT = Setup("ViT", given={"model": "test_vit", "image_size": 32, "noise_rate": 0.2})
CLEAN = Setup("clean labels", given={"model": "noisybench_cnn4", "noise": "none", "epochs": LEARNING_EPOCHS})

# What is set for a check of a method as the trainer of a head. The backbone has random weights: the kit needs no good
# features.
AS_FROZEN = ("frozen=true", "pretrained=false", "model=noisybench_cnn4", "features.input_size=8")
