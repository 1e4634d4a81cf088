"""Batches of one image, which a BatchNorm over rows cannot train on: none is left, or it is told before training."""

from __future__ import annotations

import json

import pytest

from noisybench.train.checkpoint_file import checkpoints, load_checkpoint

# 150 images in the noisy train set: 200 without 30 meta, 10 noisy and 10 clean validation images.
RUN = ["run", "--dataset", "synthetic", "--noise-rate", "0.2", "--model", "noisybench_cnn4", "--epochs", "2"]


@pytest.mark.parametrize("batch_size, steps", [(149, 1), (148, 2), (50, 3)])
def test_one_left_joins_the_last_batch(cli, tmp_path, batch_size, steps):
    code, _, errors = cli(*RUN, "--batch-size", str(batch_size), "--output", tmp_path / "run")
    assert (code, errors) == (0, "")
    newest = checkpoints(tmp_path / "run" / "checkpoints")[-1]
    assert load_checkpoint(newest)["past"]["step"] == 2 * steps and newest.name == f"step-{2 * steps:09d}.safetensors"


def test_batches_of_one_are_told_before_training(cli, tmp_path):
    code, _, errors = cli(*RUN, "--batch-size", "1", "--output", tmp_path / "run")
    assert code == 2 and errors.count("\n") == 1
    assert errors.startswith("noisybench: batch_size 1: BatchNorm of model 'noisybench_cnn4' needs at least two images")
    assert not (tmp_path / "run").exists()


def test_a_network_that_takes_one_image_trains_on_one(cli, tmp_path):
    command = [*RUN, "--batch-size", "1", "--epochs", "1", "--limit-train", "20", "--output", tmp_path / "run"]
    assert cli(*command, "--model", "noisybench_mlp")[0] == 0


def test_a_training_set_of_one_image_is_told_before_training(cli, tmp_path):
    sizes = {"limit_train": 4, "meta_size": 1, "noisy_val_size": 1, "clean_val_size": 1}
    changes = [text for name, value in sizes.items() for text in ("--set", f"{name}={value}")]
    code, _, errors = cli(*RUN, *changes, "--output", tmp_path / "run")
    assert code == 2 and errors.startswith("noisybench: 1 training image: BatchNorm of model 'noisybench_cnn4' needs")
    assert json.loads(cli(*RUN, *changes, "--dry-run")[1])["limit_train"] == 4
