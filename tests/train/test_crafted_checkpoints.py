"""Checkpoints with a flipped bit, or written by hand with a right hash: the one before, or one line."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save as save_tensors

import noisybench
from noisybench import RunConfig
from noisybench.core.errors import DamagedCheckpoint, UserError
from noisybench.train import checkpoint_file
from noisybench.train.checkpoint_file import checkpoints, load_checkpoint, save_checkpoint
from noisybench.train.progress import Progress


class Told(Progress):
    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)


class Stop(Progress):
    """Cuts a run off in its third epoch, without a warning."""

    def step(self, done):
        if done > 2.5:
            raise KeyboardInterrupt


@pytest.fixture
def cut_off(tmp_path):
    """A run's configuration; its folder holds the checkpoints of epochs 1 and 2, of 3."""
    config = RunConfig(
        method="elr", limit_train=200, epochs=3, model="noisybench_mlp", output=tmp_path / "run", batch_size=32
    )
    with pytest.raises(KeyboardInterrupt):
        noisybench.run(config, progress=Stop())
    return config


def newest(config):
    return checkpoints(config.output / "checkpoints")[-1]


def test_every_bit_of_the_version_falls_back(cut_off):
    file = newest(cut_off)
    content = file.read_bytes()
    start = content.index(b'"schema_version":"2"')
    for place in range(start + 1, start + len(b'"schema_version":"2"') - 1):
        for bit in range(8):
            flipped = bytearray(content)
            flipped[place] ^= 1 << bit
            file.write_bytes(flipped)
            with pytest.raises(DamagedCheckpoint):
                load_checkpoint(file)
    told = Told()
    file.write_bytes(content[:start] + b'"schema_version":"3"' + content[start + 20 :])
    record = noisybench.run(cut_off, resume=True, progress=told)
    assert record.status == "completed"
    assert "its schema version is damaged; falling back to" in told.said[0]


def test_another_release_is_still_named(tmp_path):
    file = save_checkpoint(tmp_path, 1, {"a": torch.zeros(1)})
    metadata = {"schema_version": "3", "state": "{}", "sha256": "by another rule"}
    file.write_bytes(save_tensors({"a": torch.zeros(1)}, metadata))
    with pytest.raises(UserError, match="schema version 3, this release reads 2") as raised:
        load_checkpoint(file)
    assert not isinstance(raised.value, DamagedCheckpoint)


DEEP = '{"list": [' * 5000 + '{"value": 1}' + "]}" * 5000


@pytest.mark.parametrize(
    "skeleton",
    ["7", "null", "[]", '{"tensor": "gone"}', '{"tensor": []}', '{"dict": 3}', '{"dict": [[[], {"value": 1}]]}',
     '{"list": 5}', "{}", '{"value": 1}', "{", DEEP],
)  # fmt: skip
def test_a_skeleton_that_is_no_state_falls_back(cut_off, skeleton):
    file = newest(cut_off)
    tensors = {"a": torch.zeros(1)}
    digest = checkpoint_file._sha256(skeleton, tensors)
    file.write_bytes(save_tensors(tensors, {"schema_version": "2", "state": skeleton, "sha256": digest}))
    told = Told()
    assert noisybench.run(cut_off, resume=True, progress=told).status == "completed"
    assert "it holds something else than a run's state" in told.said[0] and "falling back" in told.said[0]


def change(state, path, value):
    for part in path[:-1]:
        state = state[part]
    if value is KeyError:
        del state[path[-1]]
    else:
        state[path[-1]] = value


@pytest.mark.parametrize(
    "path, value",
    [
        (("past",), KeyError),
        (("past",), [1]),
        (("past", "step"), "7"),
        (("past", "step"), -1),
        (("past", "step"), True),
        (("past", "curves"), {}),
        (("past", "curves", 0), 3),
        (("past", "curves", 1, "epoch"), 7),
        (("past", "curves", 1, "loss"), "low"),
        (("past", "curves"), [{"epoch": number} for number in range(9)]),
        (("past", "train_seconds"), float("nan")),
        (("past", "more"), 1),
        (("epoch",), 3),
        (("epoch",), {"first_step": 0, "passes": [], "meter": {}}),
        (("epoch",), {"first_step": 0, "passes": [{"rows": torch.tensor([10**6])}], "meter": {}}),
        (("epoch",), {"first_step": 0, "passes": [{"tag": []}], "meter": {}}),
        (("epoch",), {"first_step": -1, "passes": [{}], "meter": {}}),
        (("epoch",), {"first_step": 0, "passes": [{}], "meter": {"totals": {"loss": torch.zeros(3)}, "first_bad": 0}}),
    ],
)
def test_a_state_of_wrong_values_is_one_line(cut_off, cli, path, value):
    file = newest(cut_off)
    state = load_checkpoint(file)
    change(state, path, value)
    save_checkpoint(file.parent, int(file.name[5:14]), state)
    with pytest.raises(UserError) as raised:
        noisybench.run(cut_off, resume=True)
    message = str(raised.value)
    assert message.startswith(f"checkpoint {file}: it is no state of this run (") and "\n" not in message
    assert not (cut_off.output / "result.json").exists()
    file.unlink()  # as the line says
    assert noisybench.run(cut_off, resume=True).status == "completed"


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("method", "store"), {}, "differ in column"),
        (("method", "store"), 5, "no attribute"),
        (("method", "store", "targets"), torch.zeros(1), "saved 'targets' has shape and type"),
        (("method", "store", "targets"), None, "saved 'targets' is no tensor"),
        (("method", "networks_made"), None, "networks_made"),
        (("method", "network"), {}, "Missing key"),
        (("method", "optimizer"), {"state": {}, "param_groups": []}, "loaded state dict has a different number"),
    ],
)
def test_a_methods_state_of_wrong_values_is_one_line(cut_off, path, value, message):
    file = newest(cut_off)
    state = load_checkpoint(file)
    assert path[1] in state["method"] and (len(path) < 3 or path[2] in state["method"]["store"])
    change(state, path, value)
    save_checkpoint(file.parent, int(file.name[5:14]), state)
    with pytest.raises(UserError) as raised:
        noisybench.run(cut_off, resume=True)
    assert message in str(raised.value)
