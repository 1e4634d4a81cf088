"""Runs that start from a file of weights: what the user is told, what the record says, and what makes another run."""

from __future__ import annotations

import json

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config

from noisybench.core.files import file_sha256
from noisybench.leaderboard.validate import read_record
from noisybench.spec.identity import run_id_of
from noisybench.spec.layers import resolve_dict
from noisybench.spec.record import RunRecord
from noisybench.train.finished import load_run
from noisybench.train.prepare import prepare, streams

SMALL = ("--limit-train", "200", "--epochs", "1", "--model", "test_resnet", "--image-size", "32")


@pytest.fixture
def file(tmp_path):
    torch.manual_seed(0)
    torch.save(timm.create_model("test_resnet", num_classes=4, in_chans=1).state_dict(), tmp_path / "w.pth")
    return tmp_path / "w.pth"


def test_it_is_told_recorded_and_part_of_the_run(cli, file, tmp_path):
    code, out, err = cli("run", *SMALL, "--weights", file, "--output", tmp_path / "run")
    assert code == 0, err
    assert "weights w.pth: its head of 4 classes is replaced by a new one of 10 classes" in out
    record, stored = RunRecord.load(tmp_path / "run" / "result.json"), file_sha256(file)
    assert record.config["weights_sha256"] == stored
    assert record.information_used.pretrained_weights == f"sha256:{stored}"
    read_record((tmp_path / "run" / "result.json").read_text(), "it")  # a board believes it

    moved = tmp_path / "moved.pth"
    moved.write_bytes(file.read_bytes())
    ids = {}
    for name, arguments in {
        "moved": ("--weights", moved),
        "none": (),
    }.items():
        code, out, _ = cli("run", *SMALL, *arguments, "--dry-run")
        ids[name] = run_id_of(json.loads(out))
    assert ids["moved"] == record.run_id != ids["none"]
    code, out, _ = cli("run", *SMALL, "--weights", moved, "--output", tmp_path / "run", "--resume")
    assert code == 0 and record.run_id in out

    file.unlink()
    session = load_run(tmp_path / "run")  # the checkpoint has what the network became
    assert session.past.step > 0


def test_a_run_without_weights_keeps_the_id_it_had_before_there_were_any(cli):
    code, out, _ = cli("run", "--dry-run")
    config = json.loads(out)
    old = {name: value for name, value in config.items() if name not in ("weights", "weights_sha256", "preprocess")}
    assert code == 0 and config["weights_sha256"] is None and run_id_of(config) == run_id_of(old)


def test_bad_input_is_one_line_and_writes_nothing(cli, file, tmp_path):
    other = tmp_path / "other.pth"
    torch.save(timm.create_model("test_vit", num_classes=4).state_dict(), other)
    cases = {
        ("--weights", other): "weights other.pth: not of model 'test_resnet': ",
        ("--weights", tmp_path / "none.pth"): "none.pth: no such file",
        ("--weights", file, "--pretrained"): "with --pretrained: networks start from one of them; leave one out",
        ("--weights", file, "--set", f"weights_sha256='{'0' * 64}'"): "the file was changed (sha256 ",
        ("--set", f"weights_sha256='{'0' * 64}'"): "give the file it is of (--weights FILE)",
        (
            "--weights",
            file,
            "--set",
            "preprocess.mean=[0.1,0.2]",
        ): "preprocess.mean has 2 values; digits has 1 channels",
    }
    for arguments, said in cases.items():
        code, _, err = cli("run", *SMALL, *arguments, "--output", tmp_path / "run")
        assert code == 2 and said in err and err.count("\n") == 1, err
        assert not (tmp_path / "run").exists()


def test_a_record_that_names_other_weights_is_refused(cli, file, tmp_path):
    assert cli("run", *SMALL, "--weights", file, "--output", tmp_path / "run")[0] == 0
    record = RunRecord.load(tmp_path / "run" / "result.json")
    for claimed in (False, True, "sha256:" + "0" * 64):
        used = record.information_used.model_copy(update={"pretrained_weights": claimed})
        record.model_copy(update={"information_used": used}).save(tmp_path / "forged.json")
        with pytest.raises(Exception, match="pretrained_weights does not agree with the configuration"):
            read_record((tmp_path / "forged.json").read_text(), "it")


def test_photos_reach_the_network_as_timm_prepares_them(tmp_path):
    for number in range(80):
        file = tmp_path / "photos" / ["cat", "dog"][number % 2] / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (6, 5, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((70 + number, 90), Image.Resampling.BILINEAR).save(file)
    network = timm.create_model("test_resnet", num_classes=2)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    given = {"dataset": f"imagefolder:{tmp_path / 'photos'}", "noise": "none", "noise_rate": 0.0}
    sizes = {"meta_size": 0, "noisy_val_size": 0, "clean_val_size": 0}
    config = resolve_dict({**given, **sizes, "model": "test_resnet", "weights": tmp_path / "w.pth"})
    data = prepare(config)
    train = streams(config, data, torch.device("cpu"), torch.float32).train
    of_timm = create_transform(**resolve_model_data_config(network))
    files = data.train_files()
    assert len(files) == len(train) > 40
    for row in (0, 11, 37):
        expected = of_timm(Image.open(tmp_path / "photos" / files[row]))
        assert expected.shape == (3, 160, 160)
        found = train.images(torch.tensor([row]))[0]
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
