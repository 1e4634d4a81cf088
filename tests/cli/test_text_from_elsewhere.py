"""Whatever a file, a card or an argument holds, the terminal is given visible text, a line where a line is meant."""

from __future__ import annotations

import os

import numpy as np
import pytest
from records import make_record

from noisybench.bench.plan import PlannedRun, State, Status, Suite
from noisybench.bench.report import LiveReport
from noisybench.bench.worker import Event
from noisybench.core.console import console
from noisybench.noise import NoiseArtifact

HOSTILE = ("a\x1b[2Jb", "c\u202ed", "e\u200bf", "g\nh", "[bold]i[/bold] :cat:", "j\u3164", "\udcff")


def noise_file(folder, **changes):
    labels = np.arange(70) % 7
    given = {
        "kind": "symmetri\u0441",
        "rule": "x\x1b]0;title\x07\ny\u202e",
        "requested_rate": 0.2,
        "seed": 0,
        "num_classes": 7,
        "clean": labels,
        "noisy": np.where(np.arange(70) < 20, (labels + 1) % 7, labels),
        "classes": HOSTILE,
    }
    NoiseArtifact(**{**given, **changes}).save(folder / "noise.npz")
    return folder / "noise.npz"


def visible(text: str) -> bool:
    return text.replace("\n", "").isprintable()


def test_a_noise_file_cannot_steer_the_terminal(cli, tmp_path):
    code, out, err = cli("noise", "show", noise_file(tmp_path))
    assert code == 0, err
    assert visible(out)
    assert "'symmetri\\u0441' noise over 70 images" in out
    assert "rule: x\\x1b]0;title\\x07 y\\u202e\n" in out
    for shown in ("a\\x1b[2Jb", "c\\u202ed", "e\\u200bf", "g h", "[bold]i[/bold] :cat:", "j\\u3164", "\\udcff"):
        assert shown in out


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--method", "x\x1b[2J"),
        ("run", "--dataset", "\udcff"),
        ("run", "--config", "no\udcff\u202e.toml"),
        ("run", "--set", "\udcff=1"),
        ("noise", "show", "no\x1b[2J.npz"),
        ("datasets", "show", "a\nb"),
        ("leaderboard", "show", "a\u202eb"),
        ("leaderboard", "show", "\udcff.toml"),
        ("leaderboard", "show", "x" * 5000),
        ("leaderboard", "show", "x" * 5000 + ".toml"),
        ("leaderboard", "show", "digits-quick", "--rule", "\x1b[2J"),
        ("leaderboard", "validate", "x" * 5000),
        ("leaderboard", "validate", "\udcff"),
        ("leaderboard", "add", "x" * 5000),
        ("leaderboard", "add", "\x1b[2J"),
        ("leaderboard", "add", ""),
        ("leaderboard", "build", "digits-quick", "--root", "x" * 5000),
        ("compare", "\udcff", "x" * 5000),
    ],
)
def test_an_error_is_one_visible_line(cli, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli(*arguments)
    assert code == 2 and err.count("\n") == 1 and err.startswith("noisybench: ") and visible(err), err
    assert out == "" and not list(tmp_path.iterdir())


def test_a_card_cannot_steer_the_terminal(cli, tmp_path):
    card = tmp_path / "card.toml"
    card.write_text(
        'title = "T\\u001b[2J"\nsummary = "S\\u202e"\ndatasets = ["digits"]\nnoises = ["symmetric"]\nmethods = ["ce"]\n'
        'noise_rates = [0.2]\nclaims = [{method = "ce", dataset = "digits", noise = "symmetric", noise_rate = 0.2, '
        'accuracy = 0.5, protocol = "p\\u001b", source = "s\\u200b\\n# h"}]\n'
    )
    make_record(noise_rate=0.2).save(tmp_path / "result.json")
    assert cli("leaderboard", "add", tmp_path / "result.json", "--board", card, "--root", tmp_path / "lb")[0] == 0
    code, out, _ = cli("leaderboard", "show", card, "--root", tmp_path / "lb")
    assert code == 0 and visible(out) and "T\\x1b[2J" in out and "s\\u200b # h" in out
    assert cli("leaderboard", "build", card, "--root", tmp_path / "lb")[0] == 0
    readme = (tmp_path / "lb" / "card" / "README.md").read_text()
    assert visible(readme) and "\n# h" not in readme
    code, out, _ = cli("bench", "plan", card, "--root", tmp_path / "lb", "--output", tmp_path / "out\x1b[2J")
    assert code == 0 and visible(out)


def test_data_verify_names_files_visibly(cli, tmp_path):
    for part in ("cat\x1b[2J", "dog"):
        (tmp_path / "photos" / part).mkdir(parents=True)
        (tmp_path / "photos" / part / os.fsdecode(b"1\xff\x1b.png")).write_bytes(b"no image")
    code, out, err = cli("data", "verify", f"imagefolder:{tmp_path / 'photos'}")
    assert code == 2 and visible(out) and visible(err)


class Failed(Suite):
    """A suite of which everything has failed."""

    def status(self, run, *, mine=False):
        return Status(State.FAILED, "why\x1b[2J\u202e")


def test_what_workers_tell_is_printed_visibly(capsys):
    """Their events hold what methods raise and say."""
    run = PlannedRun(None, "0" * 16, "ce\x1b · x")
    report = LiveReport(Failed([run], None, None), console())
    report(Event(run.run_id, "failed", "boom\x1b]0;x\x07\nmore"))
    report(Event(run.run_id, "said", "said\u202e"))
    out = capsys.readouterr().out
    assert visible(out) and "boom\\x1b]0;x\\x07 more" in out and "said\\u202e" in out
