"""With pretrained weights images are prepared by timm's data configuration of the model, unless something is set."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import timm
import torch
from timm.data import resolve_model_data_config

from noisybench import RunConfig, resolve
from noisybench.spec.identity import run_id_of
from noisybench.spec.layers import resolve_dict
from noisybench.spec.values import PreprocessConfig

MODELS = ["test_resnet", "test_vit", "mobilenetv3_small_050", "vit_tiny_patch16_224", "noisybench_lite0"]


def asked(*arguments, cli):
    code, out, err = cli("run", *arguments, "--dry-run")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.parametrize("model", MODELS)
def test_what_timm_says_is_in_the_resolved_configuration(cli, model):
    timms = resolve_model_data_config(timm.create_model(model))
    config = asked("--dataset", "cifar10", "--model", model, "--pretrained", cli=cli)
    assert config["image_size"] is None
    assert config["preprocess"] == {
        "input_size": timms["input_size"][1],
        "mean": list(timms["mean"]),
        "std": list(timms["std"]),
        "interpolation": timms["interpolation"],
        "crop_pct": timms["crop_pct"],
        "crop_mode": timms["crop_mode"],
    }
    assert resolve_dict(config).run_id == run_id_of(config)  # a fixed point


def test_a_file_of_weights_asks_for_the_same(cli, tmp_path):
    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "w.pth")
    common = ("--dataset", "cifar10", "--model", "test_resnet")
    of_file = asked(*common, "--weights", tmp_path / "w.pth", cli=cli)
    assert of_file["preprocess"] == asked(*common, "--pretrained", cli=cli)["preprocess"]


def test_grey_images_take_the_mean_over_the_channels(cli):
    config = asked("--dataset", "digits", "--model", "resnet18", "--pretrained", cli=cli)
    assert config["preprocess"]["mean"] == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert config["preprocess"]["std"] == pytest.approx([(0.229 + 0.224 + 0.225) / 3])


def test_what_is_set_wins_key_by_key(cli):
    common = ("--dataset", "cifar10", "--model", "test_resnet", "--pretrained")
    whole = asked(*common, cli=cli)["preprocess"]
    config = asked(*common, "--image-size", "48", "--set", "preprocess.crop_pct=1.0", cli=cli)
    assert config["image_size"] == 48
    assert config["preprocess"] == whole | {"input_size": None, "crop_pct": 1.0}
    assert resolve_dict(config).side == 48 and resolve(RunConfig(model="test_resnet", pretrained=True)).side == 160


@pytest.mark.parametrize("arguments", [(), ("--model", "test_resnet"), ("--model", "noisybench_cnn4", "--pretrained")])
def test_without_pretrained_weights_or_timms_word_it_stays_the_datasets(cli, arguments):
    config = asked(*arguments, cli=cli)
    assert config["preprocess"] == PreprocessConfig().model_dump()
    old = {name: value for name, value in config.items() if name not in ("preprocess", "weights", "weights_sha256")}
    assert run_id_of(config) == run_id_of(old)


def test_a_value_that_cannot_be_is_one_line(cli):
    cases = {
        "preprocess.crop_pct=1.5": "preprocess.crop_pct",
        "preprocess.interpolation='cubic'": "preprocess.interpolation",
        "preprocess.std=[0.0]": "preprocess.std",
        "preprocess.means=[0.5]": "preprocess.means",
    }
    for setting, said in cases.items():
        code, _, err = cli("run", "--set", setting, "--dry-run")
        assert code == 2 and said in err and err.count("\n") == 1, err


def test_a_model_on_the_hub_that_does_not_answer_is_one_line(tmp_path):
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "noisybench", "run", "--model", "hf-hub:nobody/nothing", "--limit-train", "200"]
    for more in ((), ("--pretrained",)):
        done = subprocess.run([*command, *more], capture_output=True, text=True, env=environment, cwd=tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert "model 'hf-hub:nobody/nothing' cannot be made: the Hugging Face Hub does not answer" in done.stderr
    assert list(tmp_path.iterdir()) == []
