"""Heads on features of a frozen network: which features, which views, which recipe, and the promises of every run."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import noisybench
from noisybench.core.errors import UserError
from noisybench.data.features import PLAIN, FeatureStream, Scaling, ViewPool
from noisybench.models import NetworkSpec, create_backbone, create_network
from noisybench.spec.layers import resolve_dict
from noisybench.spec.record import RunRecord
from noisybench.train.extract import with_features
from noisybench.train.prepare import prepare, streams
from noisybench.train.progress import Progress

CPU = torch.device("cpu")
SMALL = {
    "dataset": "digits", "limit_train": 300, "frozen": True, "model": "noisybench_cnn4", "pretrained": False,
    "features": {"input_size": 8, "dtype": "float32"}, "epochs": 2, "batch_size": 64,
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("NOISYBENCH_CACHE", str(tmp_path / "cache"))


def prepared(**changes):
    config = resolve_dict({**SMALL, **changes})
    return config, with_features(config, prepare(config), CPU, Progress())


def test_features_are_what_the_network_gives_in_eval_mode():
    config, data = prepared()
    card = data.dataset.card
    spec = NetworkSpec("noisybench_cnn4", num_classes=0, channels=1, image_size=8)
    module = create_backbone(spec).module
    pixels = data.dataset.test.pixels[:].float() / 255
    with torch.no_grad():
        expected = module((pixels - card.mean[0]) / card.std[0])
    torch.testing.assert_close(data.features.parts["test"][PLAIN], expected, rtol=1e-4, atol=1e-5)
    assert not any(isinstance(part, nn.Linear) and part.out_features == 10 for part in module.modules())


def test_they_are_brought_to_one_scale_by_the_train_part():
    table = torch.tensor([[1.0, 5.0], [3.0, 5.0]])
    scaling = Scaling.of(table)
    assert scaling.scale.tolist() == [1.0, 1.0] and scaling.shift.tolist() == [-2.0, -5.0]  # deviations 1 and 0
    config, data = prepared()
    found = streams(config, data, CPU, torch.float64)
    rows = torch.cat([images for _, images in found.train.sweep(slice(None))])
    table = data.features.parts["train"][PLAIN].double()
    moving = table.std(0) > 0
    expected = ((table - table.mean(0)) / table.std(0, correction=0))[data.splits.train][:, moving]
    torch.testing.assert_close(rows[:, moving], expected, rtol=1e-5, atol=1e-5)
    plain, _ = prepared(features={"standardise": False, "input_size": 8, "dtype": "float32"})
    raw = streams(plain, with_features(plain, prepare(plain), CPU, Progress()), CPU, torch.float32)
    assert torch.equal(raw.test.images(slice(None)), data.features.parts["test"][PLAIN])


def test_each_set_holds_its_own_rows_and_labels():
    config, data = prepared()
    found, splits = streams(config, data, CPU, torch.float32), data.splits
    assert torch.equal(found.train.labels, torch.from_numpy(data.noise.noisy[splits.train]))
    assert torch.equal(found.meta.labels, torch.from_numpy(data.dataset.train.labels[splits.meta]))
    assert torch.equal(found.noisy_val.labels, torch.from_numpy(data.noise.noisy[splits.noisy_val]))
    assert torch.equal(found.clean_val.labels, torch.from_numpy(data.dataset.train.labels[splits.clean_val]))
    assert torch.equal(found.test.labels, torch.from_numpy(data.dataset.test.labels))
    scaled = found.train._scale * data.features.parts["train"][PLAIN] + found.train._shift
    for part, rows in {"train": splits.train, "meta": splits.meta, "clean_val": splits.clean_val}.items():
        torch.testing.assert_close(getattr(found, part).images(slice(None)), scaled[torch.from_numpy(rows)])


def test_a_view_is_one_of_the_pool_by_key_and_evaluation_sees_the_image_as_it_is():
    rows = np.array([3, 1, 2])
    tables = {PLAIN: torch.zeros(4, 1), "weak-0": torch.full((4, 1), 1.0), "weak-1": torch.full((4, 1), 2.0)}
    tables |= {"strong-0": torch.full((4, 1), 3.0), "strong-1": torch.full((4, 1), 4.0)}
    pool = ViewPool(2, 4, (7, "features"), CPU)
    stream = FeatureStream(tables, rows, np.zeros(3, np.int64), Scaling.none(1), (CPU, torch.float32), pool)
    index = torch.arange(3)
    assert stream.images(index).tolist() == [[0.0]] * 3
    seen = {strength: set() for strength in ("weak", "strong")}
    for epoch in range(20):
        for strength in seen:
            first = stream.view(index, (epoch, 0), strength)
            assert torch.equal(first, stream.view(index, (epoch, 0), strength))
            turned = stream.view(index.flip(0), (epoch, 0), strength)
            assert torch.equal(first, turned.flip(0))  # whatever the batch's order
            seen[strength] |= set(first.flatten().tolist())
    assert seen == {"weak": {1.0, 2.0}, "strong": {3.0, 4.0}}


def test_several_views_are_computed_where_a_method_asks_for_them():
    augment = {"augment": {"crop_padding": 1}, "features": {"views": 2, "input_size": 8, "dtype": "float32"}}
    _, data = prepared(method="sop-plus", **augment)
    assert sorted(data.features.parts["train"]) == ["plain", "strong-0", "strong-1", "weak-0", "weak-1"]
    assert sorted(data.features.parts["test"]) == ["plain"]
    train = data.features.parts["train"]
    assert not torch.equal(train["weak-0"], train["weak-1"]) and not torch.equal(train["weak-0"], train["plain"])
    _, single = prepared(method="ce", **augment)
    assert sorted(single.features.parts["train"]) == ["plain", "weak-0", "weak-1"]
    assert torch.equal(single.features.parts["train"]["weak-1"], train["weak-1"])  # shared: no run's seed is in them


def test_what_they_depend_on_is_in_their_name_and_labels_are_not():
    def names(**changes):
        from noisybench.train.extract import Extraction

        config = resolve_dict({**SMALL, **changes})
        extraction = Extraction(config, prepare(config).dataset, CPU)
        return [extraction.file(view).name for view in extraction.views()]

    base = names()
    assert names(noise="pair-flip", noise_rate=0.2, seed=3, method="elr", head="mlp:16", epochs=5) == base
    for change in (
        {"model": "noisybench_cnn8"},
        {"features": {"input_size": 16, "dtype": "float32"}},
        {"features": {"input_size": 8, "dtype": "float16"}},
        {"features": {"input_size": 8, "dtype": "float32", "precision": "bf16"}},
        {"preprocess": {"mean": [0.4]}},
        {"limit_train": 200},
    ):
        assert names(**change)[0] != base[0], change


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"head": "mlp"}, "head 'mlp': give linear, or mlp:"),
        ({"head": "mlp:0"}, "head 'mlp:0': give linear"),
        ({"head": "linear:4"}, "head 'linear:4': give linear"),
        ({"frozen": False, "head": "mlp:16"}, "head is set, and the run trains its whole network: add --frozen"),
        ({"frozen": False, "features": {"views": 2}}, "features is set, and the run trains"),
        ({"mixed_precision": "bf16"}, "--set features.precision=bf16"),
    ],
)
def test_what_does_not_fit_is_one_line(given, line):
    with pytest.raises(UserError, match=line):
        resolve_dict({**SMALL, "features": {}, **given})


def test_a_frozen_run_takes_the_frozen_layers():
    config = resolve_dict({"dataset": "cifar10", "method": "mslg", "frozen": True})
    assert (config.model, config.pretrained, config.image_size) == ("noisybench_lite0", True, None)
    assert config.features.input_size == 112 and config.preprocess.mean == pytest.approx([127 / 255] * 3)
    assert config.preprocess.interpolation == "bicubic" and config.preprocess.crop_pct is None
    assert (config.epochs, config.batch_size, config.schedule.name) == (20, 256, "cosine")
    tuned = (config.optimizer.lr, config.settings["kappa"], config.settings["warmup_epochs"])
    assert tuned == (0.01247, 0.5369, 1)  # the card's recipe cifar10:frozen
    plus = resolve_dict({"dataset": "cifar10", "method": "co-teaching-plus", "frozen": True})
    assert plus.settings["init_epochs"] == 2  # 20 of 200 epochs, and no recipe says otherwise
    whole = resolve_dict({"dataset": "cifar10", "method": "mslg"})
    assert "frozen" not in whole.science() and config.run_id != whole.run_id


def test_a_head_has_hidden_layers_and_keyed_weights(tmp_path):
    config, data = prepared(head="mlp:12,6")
    from accelerate import Accelerator

    from noisybench.parallel.world import World
    from noisybench.train.build import Place
    from noisybench.train.session import Session

    def network():
        return Session(config, data, Place(World(Accelerator(cpu=True)), CPU, torch.float32)).method.network

    shapes = [tuple(weight.shape) for weight in network().parameters()]
    width = data.features.width
    assert shapes == [(12, width), (12,), (6, 12), (6,), (10, 6), (10,)]
    assert all(torch.equal(a, b) for a, b in zip(network().parameters(), network().parameters(), strict=True))


def test_a_run_again_gives_the_same_bits_and_computes_no_feature(tmp_path, monkeypatch):
    config = noisybench.RunConfig(**SMALL, method="mslg", settings={"warmup_epochs": 1})
    first = noisybench.run(config.model_copy(update={"output": tmp_path / "a"}))
    monkeypatch.setattr("noisybench.train.extract.Extraction._through_network", lambda *_: pytest.fail("it is there"))
    second = noisybench.run(config.model_copy(update={"output": tmp_path / "b"}))
    assert first.fingerprints == second.fingerprints and first.curves == second.curves
    assert first.metrics == second.metrics


def test_damaged_features_end_a_run_in_one_line_before_its_folder_is_made(cli, tmp_path):
    options = ["run", "--dataset", "digits", "--limit-train", "300", "--frozen", "--model", "noisybench_cnn4"]
    options += ["--set", "pretrained=false", "--set", "features.input_size=8", "--epochs", "1"]
    assert cli(*options, "--output", tmp_path / "a")[0] == 0
    for kept in (tmp_path / "cache" / "features").glob("*train-plain*.bin"):
        content = bytearray(kept.read_bytes())
        content[100] ^= 1
        kept.write_bytes(content)
    code, _, said = cli(*options, "--output", tmp_path / "b")
    assert code == 2 and "damaged features" in said and said.count("\n") == 1
    assert not (tmp_path / "b").exists()


def test_features_are_computed_ahead_and_found_by_a_run(cli, tmp_path, monkeypatch):
    ahead = ["features", "digits", "--model", "noisybench_cnn4", "--set", "pretrained=false"]
    code, told, _ = cli(*ahead, "--set", "features.input_size=8")
    assert code == 0 and "1437 × " in told and "MiB in all" in told
    monkeypatch.setattr("noisybench.train.extract.Extraction._through_network", lambda *_: pytest.fail("it is there"))
    run = ["run", "--dataset", "digits", "--frozen", "--model", "noisybench_cnn4", "--set", "pretrained=false"]
    code, _, _ = cli(*run, "--set", "features.input_size=8", "--epochs", "1", "--output", tmp_path / "run")
    assert code == 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert record["config"]["frozen"] is True and record["config"]["head"] == "linear"


def test_random_weights_are_said(cli, tmp_path):
    options = ["run", "--dataset", "digits", "--limit-train", "300", "--frozen", "--model", "noisybench_cnn4"]
    options += ["--set", "pretrained=false", "--set", "features.input_size=8", "--epochs", "1"]
    code, told, _ = cli(*options, "--output", tmp_path / "a")
    assert code == 0 and "warning: the frozen noisybench_cnn4 has random weights" in told.replace("\n", " ")


@pytest.mark.slow
def test_two_processes_give_what_one_gives(tmp_path):
    """Real processes; the first computes the features, and the second finds them or waits."""
    command = [sys.executable, "-m", "noisybench", "run", "--method", "mslg", "--dataset", "digits", "--frozen"]
    command += ["--limit-train", "300", "--model", "noisybench_cnn4", "--epochs", "3", "--set", "pretrained=false"]
    command += ["--set", "features.input_size=8", "--set", "method.warmup_epochs=1", "--set", "precision=float64"]
    records = []
    for processes in (2, 1):
        folder = tmp_path / f"of-{processes}"
        given = ["--processes", str(processes), "--output", str(folder)]
        environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, *given], check=True, capture_output=True, timeout=300, env=environment)
        records.append(RunRecord.load(folder / "result.json"))
    two, one = records
    assert two.run_id == one.run_id and (two.cost.processes, one.cost.processes) == (2, 1)
    for name, values in one.curves.items():
        expected = [None if value is None else pytest.approx(value, abs=1e-9) for value in values]
        assert two.curves[name] == expected, name


def test_a_run_that_was_killed_goes_on_bit_for_bit(tmp_path):
    config = noisybench.RunConfig(**SMALL, method="elr", checkpoint_steps=1)
    whole = noisybench.run(config.model_copy(update={"output": tmp_path / "whole"}))

    class Stops(Progress):
        def step(self, done):
            if done > 1.3:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        noisybench.run(config.model_copy(update={"output": tmp_path / "cut"}), progress=Stops())
    resumed = noisybench.run(config.model_copy(update={"output": tmp_path / "cut"}), resume=True)
    assert resumed.fingerprints == whole.fingerprints and resumed.curves == whole.curves


def test_weights_of_a_file_are_what_is_frozen(cli, tmp_path):
    spec = NetworkSpec("noisybench_cnn4", num_classes=5, channels=1, image_size=8)
    network = create_network(spec, seed=3)
    save_file(network.state_dict(), tmp_path / "mine.safetensors")
    _, data = prepared(model="noisybench_cnn4", weights=tmp_path / "mine.safetensors")
    card = data.dataset.card
    network.reset_classifier(0)
    with torch.no_grad():
        pixels = data.dataset.test.pixels[:].float() / 255
        expected = network.eval()((pixels - card.mean[0]) / card.std[0])
    torch.testing.assert_close(data.features.parts["test"][PLAIN], expected, rtol=1e-4, atol=1e-5)

    other = create_network(NetworkSpec("noisybench_mlp", num_classes=10, channels=1, image_size=8), seed=3)
    save_file(other.state_dict(), tmp_path / "other.safetensors")
    options = ["run", "--dataset", "digits", "--frozen", "--model", "noisybench_cnn4", "--set", "pretrained=false"]
    code, _, said = cli(*options, "--weights", tmp_path / "other.safetensors", "--output", tmp_path / "run")
    assert code == 2 and said.count("\n") == 1 and "not of model 'noisybench_cnn4'" in said
    assert not (tmp_path / "run").exists()
