"""How much work a run is, before it is run."""

from __future__ import annotations

from noisybench import registry
from noisybench.config import RunConfig


def train_size(config: RunConfig) -> int:
    """Images in the noisy train set, as the card states the dataset's size."""
    official = registry.dataset_card(config.dataset).train_size
    size = official if config.limit_train is None else min(config.limit_train, official)
    if config.protocol == "authors":  # held-out parts are cut from the test part
        return size
    return size - config.meta_size - config.noisy_val_size - config.clean_val_size


def steps(config: RunConfig) -> int:
    """Training steps, counting one pass over the train set an epoch."""
    return config.epochs * -(-train_size(config) // config.batch_size)


def forward_images(config: RunConfig) -> float:
    """Forward passes of single images: the method's forward equivalents a step × steps × images a step.

    Evaluation is not counted, nor are a method's epochs of several passes.
    """
    return registry.load_method(config.method).forward_equivalents * steps(config) * config.batch_size
