"""The schema of a configuration: plain, strict, and without a look at any card."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from noisybench import ResolvedConfig, RunConfig

BUILD = """
import sys
import noisybench.spec.config

opened = []
sys.addaudithook(lambda event, arguments: opened.append(arguments[0]) if event in ("open", "os.listdir") else None)
config = noisybench.RunConfig(
    method="no-such-method", dataset="imagefolder:/no/such/folder", noise="file:/no/such/file", noise_rate=0.0,
    noise_file="/no/such/file", noise_file_sha256="0", noise_seed=1, noise_release=2, seed=1, protocol="authors",
    ruleset="blind", track="fast", limit_train=1, meta_size=1, noisy_val_size=1, clean_val_size=1,
    model="no-such-model", pretrained=True, initialisation="torch",
    image_size=4, precision="float64", mixed_precision="bf16",
    channels_last=True, epochs=1,
    weights="/no/such/weights.pth", weights_sha256="0", preprocess={"crop_pct": 0.5},
    batch_size=1, order="sequential", optimizer={"name": "adam", "nesterov": True}, schedule={"name": "constant"},
    augment={"meta_set": False}, settings={"a": 1}, clean_labels_sha256="0", data_path="/no/such/folder",
    clean_labels="/no/such/table.csv", memory_budget=1, workers=1, output="/no/such/folder", checkpoint_steps=1,
    checkpoint_minutes=1, wandb=True, trackers=["no-such-tracker"], batch_parts=2,
    frozen=True, head="no-such-head", features={"views": 2},
)
assert config.model_fields_set == set(noisybench.RunConfig.model_fields)
heavy = {"torch", "timm", "numpy", "datasets", "wandb"} & sys.modules.keys()
ours = ("noisybench.methods", "noisybench.noise", "noisybench.data", "noisybench.spec.registry")
print(opened, sorted(heavy), [name for name in sys.modules if name.startswith(ours)])
"""


def test_building_one_opens_no_file_and_imports_no_method():
    done = subprocess.run([sys.executable, "-c", BUILD], capture_output=True, text=True)
    assert done.stdout == "[] [] []\n", done.stderr


def test_every_field_may_be_left_out_and_what_only_cards_know_is_none():
    config = RunConfig()
    assert config.model_fields_set == set()
    assert (config.epochs, config.meta_size, config.noisy_val_size, config.clean_val_size) == (None,) * 4
    assert config.settings == {}


def test_it_is_strict_and_frozen():
    with pytest.raises(ValidationError, match="epoch\n.*not permitted"):
        RunConfig(epoch=3)
    with pytest.raises(ValidationError, match="optimizer.lrr\n.*not permitted"):
        RunConfig(optimizer={"lrr": 0.1})
    with pytest.raises(ValidationError, match="epochs\n.*greater than or equal to 1"):
        RunConfig(epochs=0)
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().epochs = 3
    with pytest.raises(ValidationError, match="frozen"):
        RunConfig().optimizer.lr = 3


def test_a_resolved_one_has_the_same_fields_and_needs_what_the_cards_supply():
    assert list(ResolvedConfig.model_fields) == list(RunConfig.model_fields)
    with pytest.raises(ValidationError) as caught:
        ResolvedConfig()
    assert {error["loc"][0] for error in caught.value.errors()} == {
        "epochs",
        "meta_size",
        "noisy_val_size",
        "clean_val_size",
    }


def test_paths_are_kept_as_they_were_given():
    config = RunConfig(output="runs/x", noise="file:a/b.npz")
    assert config.output == Path("runs/x") and config.noise == "file:a/b.npz" and config.noise_file is None
