"""Options that say something odd: one line that names what is wrong, exit code 2, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LONG, DIGITS = "x" * 300, "9" * 5000


def refused(result) -> str:
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1) and err.startswith("noisybench: "), err
    return err


@pytest.mark.parametrize(
    "setting, message",
    [
        ("method=1", "method: input should be a valid string, not 1"),
        ("dataset=[1]", "dataset: input should be a valid string"),
        ("noise=1.5", "noise: input should be a valid string"),
        ("limit_train={a=1}", "limit_train: input should be a valid integer"),
        ("limit_train=true", "limit_train: input should be a number, not true"),
        ("clean_labels=7", "clean_labels: input is not a valid path"),
        ("epochs=true", "epochs: input should be a number, not true"),
        ("optimizer.lr=true", "optimizer.lr: input should be a number, not true"),
        (f"epochs={DIGITS}", "--set epochs: the value cannot be read"),
        (f"limit_train={'9' * 4000}", "limit_train: input should be a whole number below 2^63"),
        (f"method={LONG}", "unknown method"),
        (f"dataset=imagefolder:{LONG}", "imagefolder:"),
        ("dataset=csv:~nouser", "~nouser"),
        (f"noise=file:{LONG}", "cannot be read (file name too long)"),
        ("dataset=''", "unknown dataset ''"),
        ("model='a\\u0000b'", "model: input should be text without NUL"),
        ("model=\udcff", "model: input should be text in UTF-8"),
        ("image_size=6000", "image_size: input should be less than or equal to 2048"),
        ("settings=" + "[" * 5000 + "]" * 5000, "settings"),
    ],
)
def test_settings(cli, tmp_path, setting, message):
    setting = setting.replace('"\\u0000"', '"')
    if "\\u0000" in setting:
        setting = setting.replace("'", '"')
    output = tmp_path / "out"
    assert message in refused(cli("run", "--output", output, "--set", setting))
    assert not output.exists()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"epochs = true", "epochs: input should be a number, not true"),
        (b"epochs = " + DIGITS.encode(), "not a readable TOML file"),
        (b'dataset = "imagefolder:a\\u0000b"', "without NUL"),
        (b'data_path = "a\\u0000b"', "without NUL"),
        (b"\xff\xfe", "not a readable TOML file"),
        (b"a = " + b"[" * 5000, "not a readable TOML file"),
        (b"[optimizer]\nlr = 'x'", "optimizer.lr: input should be a valid number"),
    ],
)
def test_files_of_settings(cli, tmp_path, content, message):
    (tmp_path / "c.toml").write_bytes(content)
    assert message in refused(cli("run", "--dry-run", "--config", tmp_path / "c.toml"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("data", "info", "csv:pipe"),
        ("data", "verify", "csv:pipe"),
        ("run", "--dry-run", "--dataset", "csv:pipe"),
        ("run", "--dry-run", "--clean-labels", "pipe"),
        ("noise", "import", "pipe", "--dataset", "digits", "--output", "x.npz"),
        ("compare", "pipe", "pipe"),
        ("noise", "estimate", "pipe"),
        ("leaderboard", "add", "pipe"),
        ("bench", "plan", "pipe.toml"),
    ],
)
def test_nobody_waits_for_a_pipe(cli, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    for name in ("pipe", "pipe.toml"):
        os.mkfifo(name)
    code, _, err = cli(*arguments)
    assert code == 2 and err.count("\n") <= 1
    assert sorted(os.listdir()) == ["pipe", "pipe.toml"]


def test_a_pipe_is_no_file_of_settings(cli, tmp_path):
    os.mkfifo(tmp_path / "c.toml")
    assert "no regular file" in refused(cli("run", "--config", tmp_path / "c.toml"))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("bench", "plan", "digits-quick", "--seeds", "1" + "0" * 26), "less than or equal to 1000"),
        (("run", "--epochs", "many"), "Invalid value for '--epochs'"),
        (("run", "--nope"), "No such option: --nope"),
        (("rnu",), "No such command 'rnu'"),
        (("noise", "show"), "Missing argument"),
        (("bench", "plan", f"{LONG}.toml"), "no such file"),
        (("leaderboard", "show", LONG), "unknown benchmark"),
        (("datasets", "show", ""), "unknown dataset ''"),
        (("compare", LONG, LONG), "xxx"),
        (("noise", "show", LONG), "xxx"),
        (("data", "info", "digits", "--output", f"{LONG}.png"), "name too long"),
    ],
)
def test_commands(cli, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(cli(*arguments))
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_that_is_gone(tmp_path):
    (tmp_path / "gone").mkdir()
    script = f"cd {tmp_path / 'gone'}; rmdir {tmp_path / 'gone'}; exec {sys.executable} -m noisybench methods"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "noisybench: the working directory does not exist any more: change to one that does\n"


@pytest.mark.parametrize("arguments", [("run", "--dry-run"), ("run", "--limit-train", "60", "--epochs", "1")])
def test_a_number_of_processes_that_is_none(cli, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WORLD_SIZE", "abc")
    code, _, err = cli(*arguments)
    if "--dry-run" in arguments:  # starts no process and asks for none
        assert (code, err) == (0, "")
    else:
        assert code == 2 and err.count("\n") == 1 and "WORLD_SIZE=abc" in err
