"""Packages that hang, leave or raise anything while they are imported: named and left out; the rest works."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from noisybench.core.time_limit import TookTooLong, time_limit
from noisybench.spec import registry

METHODS, CARDS, SETTINGS, NOISES = (f"noisybench.{kind}" for kind in ("methods", "cards", "settings", "noises"))
GOOD = "from noisybench.methods.ce import CrossEntropy\n\nclass Good(CrossEntropy):\n    pass\n"
HOSTILE = {
    "hangs": ("import time\ntime.sleep(3600)", "after 1 seconds it was still being imported"),
    "loops": ("while True: pass", "after 1 seconds it was still being imported"),
    "leaves": ("raise SystemExit", "SystemExit"),
    "raises_base": ("class Odd(BaseException): pass\nraise Odd('so')", "Odd: so"),
    "generator": ("raise GeneratorExit", "GeneratorExit"),
    "no_text": (
        "class Odd(Exception):\n    def __str__(self): raise ValueError\nraise Odd",
        "Odd",
    ),
}


@pytest.mark.parametrize("module", HOSTILE)
def test_a_hostile_package_is_named_and_left_out(cli, plugin, monkeypatch, module):
    monkeypatch.setenv("NOISYBENCH_IMPORT_SECONDS", "1")
    text, reason = HOSTILE[module]
    points = {
        METHODS: {"bad": f"{module}:Good", "good": "sound:Good"},
        SETTINGS: {"bad": f"{module}:Settings"},
        NOISES: {"odd-noise": f"{module}:KIND"},
        CARDS: {"cards": f"{module}.cards"},
    }
    plugin("strange", points, {f"{module}/__init__.py": text, f"{module}/cards/__init__.py": "", "sound.py": GOOD})
    for kind, name in (("methods", "bad"), ("noises", "odd-noise"), ("datasets", "cards")):
        code, out, err = cli(kind)
        assert (code, err) == (0, "")
        lines = [line for line in out.splitlines() if line.startswith(f"not usable: {name} of strange: ")]
        assert lines and all(reason in line for line in lines)
    code, out, err = cli("run", "--method", "bad", "--dry-run")
    assert (code, out, err.count("\n")) == (2, "", 1) and reason in err
    assert cli("run", "--method", "good", "--dry-run")[0] == 0
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_ctrl_c_during_an_import_is_ctrl_c(plugin):
    plugin("strange", {METHODS: {"bad": "interrupted:Good"}}, {"interrupted.py": "raise KeyboardInterrupt"})
    with pytest.raises(KeyboardInterrupt):
        registry.load("method", "bad")


def test_a_time_limit_ends_its_block_alone():
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TookTooLong), time_limit(0.05):
        time.sleep(3600)
    with time_limit(3600):
        pass
    assert signal.getsignal(signal.SIGALRM) == before and signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_in_another_thread_there_is_no_limit():
    done = []

    def work():
        with time_limit(1e-3):
            time.sleep(0.02)
            done.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A board's card that names a module, which leaves a file when it is imported."""
    (tmp_path / "somebodys.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n" + GOOD)
    card = tmp_path / "their.toml"
    card.write_text(
        'title="Theirs"\ndatasets=["digits"]\nnoises=["symmetric"]\nnoise_rates=[0.4]\nseeds=1\n'
        'methods=["ce", "somebodys:Good"]\n'
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield card
    sys.modules.pop("somebodys", None)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_module_named_in_a_card_is_imported_only_when_asked(cli, board, tmp_path, command):
    code, out, err = cli("bench", command, board)
    assert (code, out, err.count("\n")) == (2, "", 1) and "somebodys:Good" in err and "--import-methods" in err
    assert not (tmp_path / "ran").exists()
    assert cli("bench", "plan", board, "--methods", "ce")[0] == 0
    assert not (tmp_path / "ran").exists()
    code, out, _ = cli("bench", "plan", board, "--import-methods", "--slurm", "suite.sh")
    assert code == 0 and "2 runs" in out and (tmp_path / "ran").exists()
    assert "--import-methods" in (tmp_path / "suite.sh").read_text()


def test_what_the_user_names_is_imported(cli, board, tmp_path):
    assert cli("bench", "plan", board, "--methods", "somebodys:Good")[0] == 0
    assert (tmp_path / "ran").exists()


def test_a_hanging_package_does_not_keep_help_or_a_run(plugin, tmp_path):
    """A real process: nothing of the package is imported where it is not asked for."""
    site = plugin("strange", {METHODS: {"bad": "hangs:Good"}}, {"hangs.py": "import time\ntime.sleep(3600)"})
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "noisybench", "run", "--method", "ce", "--dry-run"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
