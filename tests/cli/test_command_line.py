"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from trees import write_image_parquet

QUICK = ("run", "--limit-train", "400", "--epochs", "1")


def test_no_help_imports_torch():
    script = """
import sys, typer
from noisybench.cli.main import app, main

def commands(group, path=()):
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))

for path in commands(typer.main.get_command(app)):
    sys.argv = ["noisybench", *path, "--help"]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, path
    assert "torch" not in sys.modules, path
    print("helped:", *path)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for command in ("run", "methods show", "noises show", "datasets", "models show"):
        assert f"helped: {command}\n" in done.stdout
    assert "Usage: noisybench" in done.stdout


def test_run_ends_with_a_summary_and_files(cli, tmp_path):
    output = tmp_path / "out"
    code, out, err = cli(*QUICK, "--method", "mslg", "--set", "method.warmup_epochs=0", "--output", output)
    assert (code, err) == (0, "")
    assert "epoch 1/1" in out and "test accuracy, last epoch" in out and "wrong labels found, AUROC" in out
    for name in ("result.json", "metrics.jsonl", "noise.npz", "labels.parquet", "config.json", "checkpoints"):
        assert (output / name).exists(), name
    assert str(output / "labels.parquet") in out


def test_dry_run_prints_the_resolved_configuration_and_does_nothing(cli, tmp_path):
    file = tmp_path / "config.toml"
    file.write_text('method = "mslg"\nepochs = 7\nseed = 5\n[settings]\nkappa = 2.0\n')
    code, out, _ = cli(
        "run", "--config", file, "--seed", "6", "--set", "method.inner_lr=0.25", "--output", tmp_path / "x", "--dry-run"
    )
    resolved = json.loads(out)
    assert code == 0 and not (tmp_path / "x").exists()
    assert resolved["epochs"] == 7 and resolved["seed"] == 6  # file; the command line over the file
    assert resolved["settings"]["kappa"] == 2.0 and resolved["settings"]["inner_lr"] == 0.25
    assert resolved["optimizer"]["momentum"] == 0.9


def test_lists_and_cards(cli):
    code, out, _ = cli("methods")
    assert code == 0 and "mslg" in out and "Meta Soft Label Generation" in out
    code, out, _ = cli("methods", "show", "mslg")
    assert "2007.05836" in out and "clean labels: true" in out and "kappa: 1.5625" in out and "cifar10" in out
    assert "50,000 / 10,000" in cli("datasets")[1]
    assert "uoft-cs/cifar10" in cli("datasets", "show", "cifar10")[1]
    assert "noisybench_cnn8" in cli("models")[1]
    assert "convnext_atto.d2_in1k" in cli("models", "show", "convnext_atto")[1]
    assert "pair-flip" in cli("noises")[1]
    assert "the next one" in cli("noises", "show", "pair-flip")[1]
    code, _, err = cli("methods", "show", "msl")
    assert code == 2 and err == "noisybench: unknown method 'msl': did you mean mslg or mlc?\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "mlsg"], "unknown method 'mlsg': did you mean mslg or ls?"),
        (["--dataset", "digts"], "unknown dataset 'digts': did you mean digits?"),
        (["--model", "resnt18"], "unknown model 'resnt18': did you mean resnet18"),
        (["--model", "resnet18.a1_in1"], "unknown model 'resnet18.a1_in1': did you mean resnet18.a1_in1k"),
        (["--set", "optimiser.lr=1"], "unknown configuration key 'optimiser': did you mean optimizer?"),
        (["--method", "mslg", "--set", "method.kapa=1"], "unknown configuration key 'method.kapa'"),
        (["--noise-rate", "1.0"], "noise_rate: input should be less than 1"),
        (["--noise-rate", "-0.1"], "noise_rate: input should be greater than or equal to 0"),
        (["--epochs", "-3"], "epochs: input should be greater than or equal to 1"),
        (["--dataset", "cifar10", "--data-path", "/no/such/folder"], "--data-path /no/such/folder: no such folder"),
        (["--data-path", "."], "'digits' is built in"),
        (["--meta-size", "5000"], "meta_size 5000 + clean_val_size 100 + noisy_val_size 100 = 5200 leave nothing"),
        (["--limit-train", "9999"], "--limit-train 9999: digits has 1437 training images"),
        (["--config", "/no/such.toml"], "--config /no/such.toml: no such file"),
        (["--image-size", "8", "--model", "convnext_atto"], "cannot take 8×8 images"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_leaves_nothing(cli, tmp_path, arguments, message):
    output = tmp_path / "out"
    code, out, err = cli("run", "--output", output, *arguments)
    assert code == 2 and err.count("\n") == 1 and err.startswith("noisybench: ") and message in err, err
    assert not output.exists()


def test_a_missing_hub_is_one_line(cli, tmp_path, monkeypatch):
    import datasets

    def refuse(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    code, _, err = cli("run", "--dataset", "cifar10", "--output", tmp_path / "out")
    assert code == 2 and "could not be loaded from the Hub (uoft-cs/cifar10): no route; give --data-path" in err


@pytest.mark.slow
def test_cifar10_from_a_local_folder(cli, tmp_path, cifar_like, small_cifar10):
    common = (
        "--dataset",
        small_cifar10,
        "--data-path",
        cifar_like,
        "--meta-size",
        "20",
        "--epochs",
        "1",
        "--method",
        "mslg",
    )
    sizes = ("--set", "noisy_val_size=10", "--set", "clean_val_size=10", "--set", "method.warmup_epochs=0")
    outputs = []
    for name in ("decoded", "cached"):
        code, _, err = cli("run", *common, *sizes, "--output", tmp_path / name)
        assert (code, err) == (0, "")
        outputs.append(json.loads((tmp_path / name / "result.json").read_text()))
    assert outputs[0]["metrics"] == outputs[1]["metrics"]
    assert outputs[0]["fingerprints"] == outputs[1]["fingerprints"]
    labels = 300 - 20 - 10 - 10
    assert outputs[0]["information_used"]["clean_labels"] == 20
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(tmp_path / "cached" / "labels.parquet").num_rows == labels


@pytest.mark.parametrize("damage", ["corrupt", "no test", "columns", "label", "image", "empty"])
def test_a_wrong_data_folder_is_named(cli, tmp_path, damage, small_set):
    import datasets

    folder = tmp_path / "data"
    write_image_parquet(folder, {"train": 20, "test": 20})
    train = folder / "train-00000-of-00001.parquet"
    expected = {
        "corrupt": f"{train}: not a readable Parquet file",
        "no test": "no 'test' split; found train",
        "columns": "no column 'img'; found image, label",
        "label": "row 3 has label 17, outside 0..9 (1 such rows)",
        "image": "the image of row 5 cannot be decoded",
        "empty": "no dataset can be read from it",
    }[damage]
    if damage == "corrupt":
        train.write_bytes(train.read_bytes()[:500])
    elif damage == "no test":
        (folder / "test-00000-of-00001.parquet").unlink()
    elif damage == "empty":
        for file in folder.iterdir():
            file.unlink()
    else:
        table = datasets.Dataset.from_parquet(str(train), cache_dir=str(tmp_path / "cache"))
        if damage == "columns":
            table = table.rename_column("img", "image")
            test = datasets.Dataset.from_parquet(str(folder / "test-00000-of-00001.parquet"))
            test.rename_column("img", "image").to_parquet(folder / "test-00000-of-00001.parquet")
        else:
            rows = table.cast_column("img", datasets.Image(decode=False)).to_dict()
            if damage == "label":
                rows["label"][3] = 17
            else:
                rows["img"][5]["bytes"] = b"not an image"
            table = datasets.Dataset.from_dict(rows, features=table.features)
        table.to_parquet(train)
    name = small_set("cifar10", train=20, test=20)
    sizes = ("--meta-size", "2", "--set", "noisy_val_size=0", "--set", "clean_val_size=0")
    code, _, err = cli("run", "--dataset", name, "--data-path", folder, *sizes, "--output", tmp_path / "out")
    assert code == 2 and err.count("\n") == 1 and expected in err, err
    assert not (tmp_path / "out").exists()


def test_output_folders_are_not_overwritten(cli, tmp_path):
    output = tmp_path / "out"
    assert cli(*QUICK, "--output", output)[0] == 0
    before = {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}
    code, _, err = cli(*QUICK, "--output", output)
    assert code == 2 and "holds this run, finished; add --resume, or give another --output" in err
    code, _, err = cli(*QUICK, "--output", output, "--seed", "1")
    assert code == 2 and "with a different configuration (seed: 0 there, 1 here)" in err
    code, _, err = cli(*QUICK, "--output", output, "--resume", "--set", "optimizer.lr=0.5")
    assert code == 2 and err.startswith(f"noisybench: --resume {output}: holds run") and "optimizer.lr: 0.05" in err
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("mine")
    code, _, err = cli(*QUICK, "--output", foreign)
    assert code == 2 and "holds files but no run" in err and [f.name for f in foreign.iterdir()] == ["thesis.tex"]
    code, out, err = cli(*QUICK, "--output", output, "--resume")
    assert code == 0 and "test accuracy, last epoch" in out  # a finished run shows its summary again
    assert before == {file: file.read_bytes() for file in output.rglob("*") if file.is_file()}


def test_wandb_offline_writes_its_own_format(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    code, _, err = cli(*QUICK, "--wandb", "--output", tmp_path / "out")
    assert code == 0, err
    assert list((tmp_path / "out" / "wandb").glob("offline-run-*/run-*.wandb"))


def test_a_phase_that_the_run_does_not_reach_is_told(cli, tmp_path):
    short = ("run", "--limit-train", "200", "--model", "noisybench_mlp", "--output")
    code, out, _ = cli(*short, tmp_path / "a", "--method", "mslg", "--epochs", "3")
    assert code == 0
    assert "warning: method.warmup_epochs = 5 lies behind this run's 3 epochs, so what comes" in out
    code, out, _ = cli(*short, tmp_path / "b", "--method", "mslg", "--epochs", "3", "--set", "method.warmup_epochs=2")
    assert code == 0 and "warning" not in out
