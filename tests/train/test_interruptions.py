"""Runs that are cut off: by signals, by a damaged checkpoint, by a full or a read-only disk, by another process."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
import trees

import noisybench
from noisybench.bench.plan import State
from noisybench.core.errors import FolderInUse, RunStopped, UserError
from noisybench.data.prefetch import feed
from noisybench.parallel.folder_lock import FolderLock
from noisybench.parallel.signals import STOP_SIGNALS, StopSignals, ignore_stop_signals
from noisybench.train import checkpoint_file
from noisybench.train.checkpoints import Checkpoints
from noisybench.train.progress import Progress

# Three epochs of five steps a pass on 150 images.
METHODS = {
    "mslg": {"warmup_epochs": 1},
    "co-teaching": {},
    "dividemix": {"warmup_epochs": 1, "loss_history": 2},  # an epoch is two passes over rows that mixtures chose
    "mlnt": {"warmup_epochs": 1, "iterations": 2, "keep_threshold": 0.11},  # the last epoch's rows are filtered
    "gce": {"prune_from": 1, "threshold": 0.1, "q": 0.7},  # rows are dropped from the loss at an epoch's start
}


def config(folder: Path, method: str = "mslg", **changes) -> noisybench.RunConfig:
    given = {"method": method, "dataset": "synthetic", "batch_size": 30, "epochs": 3, "settings": METHODS[method]}
    return noisybench.resolve(noisybench.RunConfig(**{**given, "noise_rate": 0.3, "output": folder, **changes}))


class SignalAt(Progress):
    """Sends this process a signal once so many epochs are done, within an epoch; keeps what it is told."""

    def __init__(self, epochs: float, number: int = signal.SIGTERM):
        self.left, self.number, self.said, self.steps = epochs, number, [], 0

    def step(self, done):
        self.steps += 1
        if done >= self.left:
            self.left = float("inf")
            signal.raise_signal(self.number)

    def say(self, line):
        self.said.append(line)


@pytest.fixture(autouse=True)
def _no_signal_is_ignored():
    """A shell that starts the tests in the background has them ignore Ctrl-C; a run leaves an ignored signal so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Unbroken runs, by method: the record and the content of metrics.jsonl."""
    made = {}

    def run(method: str):
        if method not in made:
            folder = tmp_path_factory.mktemp(method)
            record = noisybench.run(config(folder, method))
            made[method] = record, (folder / "metrics.jsonl").read_bytes()
        return made[method]

    return run


def stopped(folder: Path, epochs: float = 2.5, method: str = "mslg", **changes) -> SignalAt:
    """A run stopped after so many epochs."""
    progress = SignalAt(epochs)
    with pytest.raises(RunStopped, match="stopped by SIGTERM after step"):
        noisybench.run(config(folder, method, **changes), progress=progress, resume=folder.exists())
    return progress


def same(whole, record, folder: Path) -> None:
    expected, metrics = whole
    assert record.fingerprints == expected.fingerprints
    assert record.curves == expected.curves and record.metrics == expected.metrics
    assert (folder / "metrics.jsonl").read_bytes() == metrics


# DivideMix's warm-up: six steps in two passes, stopped within each of them.
WITHIN = [*((method, epochs) for method in METHODS for epochs in (0.4, 2.75)), ("dividemix", 0.2), ("dividemix", 0.6)]


@pytest.mark.parametrize("method, epochs", WITHIN)
def test_a_run_stopped_within_an_epoch_goes_on_to_the_same_bits(tmp_path, whole, method, epochs):
    folder = tmp_path / "run"
    before = stopped(folder, epochs, method)
    spent = checkpoint_file.load_checkpoint(checkpoint_file.checkpoints(folder / "checkpoints")[-1])["past"]
    progress = SignalAt(float("inf"))
    resumed = noisybench.run(config(folder, method), resume=True, progress=progress)
    same(whole(method), resumed, folder)
    unbroken = SignalAt(float("inf"))
    noisybench.run(config(tmp_path / "again", method), progress=unbroken)
    assert before.steps + progress.steps == unbroken.steps  # no step was done twice, none left out
    assert f"{int(epochs)} epochs and {before.steps} steps are done" in progress.said[0]
    assert resumed.cost.wall_seconds > spent["wall_seconds"] > spent["train_seconds"] > 0


def test_the_mentor_of_mlnt_and_the_mixture_of_dividemix_chose_rows(tmp_path):
    """Else the test above would say nothing of epochs that are not one pass over everything."""
    for method in ("dividemix", "mlnt"):
        stopped(tmp_path / method, 2.5, method)
        newest = checkpoint_file.checkpoints(tmp_path / method / "checkpoints")[-1]
        planned = checkpoint_file.load_checkpoint(newest)["epoch"]["passes"]
        assert all(0 < len(part["rows"]) < 150 for part in planned), method


def test_stopped_again_and_again(tmp_path, whole):
    folder = tmp_path / "run"
    for step in range(1, 15):
        stopped(folder, step / 5)
        assert len(list((folder / "checkpoints").iterdir())) <= 2
    same(whole("mslg"), noisybench.run(config(folder), resume=True), folder)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_stop_signal_saves_and_ends_in_order(cli, tmp_path, monkeypatch, number):
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    listeners = [SignalAt(1.5, number), Progress()]
    monkeypatch.setattr("noisybench.train.progress.ConsoleProgress", lambda _: listeners.pop(0))
    options = {"method": "mslg", "dataset": "synthetic", "noise-rate": 0.3, "output": tmp_path / "my run"}
    code, _, err = cli("run", *(text for name, value in options.items() for text in (f"--{name}", value)))
    name, folder = signal.Signals(number).name, tmp_path / "my run"
    command = shlex.join(sys.argv) + " --resume"
    assert (
        err == f"noisybench: stopped by {name} after step 5, saved in {folder / 'checkpoints'}; go on with: {command}\n"
    )
    assert code == 143 and not (folder / "result.json").exists()
    assert [signal.getsignal(each) for each in STOP_SIGNALS] == before
    code, _, err = cli(*shlex.split(command)[1:])
    assert (code, err) == (0, "") and (folder / "result.json").exists()


def test_signals_before_training_and_a_second_ctrl_c():
    with pytest.raises(RunStopped, match="stopped by SIGUSR1"), StopSignals():
        signal.raise_signal(signal.SIGUSR1)
    with StopSignals() as signals:
        signals.defer()
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert signals.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.received is None
    finally:
        signal.signal(signal.SIGINT, ignored)


@pytest.mark.parametrize("error", [None, UserError("the disk is full")])
def test_a_signal_that_comes_too_late_for_a_run_stops_its_suite(error):
    behind = []
    with pytest.raises(RunStopped, match="stopped by SIGUSR1"), StopSignals():
        with StopSignals() as of_run:
            of_run.defer()
            signal.raise_signal(signal.SIGUSR1)
            behind.append("the run's last step")
            if error:
                raise error
        behind.append("the suite's next run")
    assert behind == ["the run's last step"]


def start(*arguments: str | Path) -> subprocess.Popen:
    """The real command line in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "noisybench", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow
def test_a_job_on_streamed_images_is_stopped_whole_and_alone_in_its_folder(tmp_path, cli, small_set):
    """As a cluster does it: the signal goes to the decoding processes too."""
    root = trees.clothing1m(tmp_path / "data")
    arguments = ["run", "--method", "ce", "--dataset", small_set("clothing1m", root), "--data-path", root]
    arguments += ["--image-size", 24, "--memory-budget", 0, "--workers", 1, "--model", "noisybench_cnn4"]
    arguments += [
        "--set",
        "meta_size=30",
        "--set",
        "clean_val_size=10",
        "--set",
        "noisy_val_size=14",
        "--set",
        "pretrained=false",
    ]
    arguments += ["--batch-size", 8, "--epochs", 400, "--checkpoint-steps", 3, "--output", tmp_path / "run"]
    job = start(*arguments)
    while not checkpoint_file.checkpoints(tmp_path / "run" / "checkpoints"):
        assert job.poll() is None, job.communicate()
        time.sleep(0.05)
    for more in ([], ["--resume"]):
        code, _, err = cli(*arguments, *more)
        assert code == 2 and f"{tmp_path / 'run'}: in use by" in err and f"process {job.pid};" in err
    os.killpg(job.pid, signal.SIGTERM)
    _, err = job.communicate(timeout=120)
    assert job.returncode == 143 and err.startswith("noisybench: stopped by SIGTERM after step"), err
    command = shlex.split(err.partition("go on with: ")[2])
    assert command == [sys.executable, "-m", "noisybench", *map(str, arguments), "--resume"]
    reached = checkpoint_file.checkpoints(tmp_path / "run" / "checkpoints")[-1]
    again = start(*command[3:])
    while checkpoint_file.checkpoints(tmp_path / "run" / "checkpoints")[-1] == reached:
        assert again.poll() is None, again.communicate()
        time.sleep(0.05)
    again.send_signal(signal.SIGUSR1)
    out, err = again.communicate(timeout=120)
    assert again.returncode == 143 and f"goes on from {reached.name}" in out, err


class Numbers:
    """A source whose pixels are the rows' numbers."""

    resident, shape = False, (50,)

    def fetch(self, rows):
        return torch.from_numpy(rows)


def test_processes_that_decode_leave_stop_signals_to_the_run():
    requests = [(np.array([number]),) for number in range(50)]
    others = set(psutil.Process().children())  # multiprocessing keeps one, once anything has spawned processes
    pixels = feed([Numbers()], requests, torch.device("cpu"), workers=1)
    found = [next(pixels)]
    (worker,) = set(psutil.Process().children()) - others
    for number in STOP_SIGNALS:
        worker.send_signal(number)
    found += pixels
    assert [int(part) for (part,) in found] == list(range(50))


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_processes_that_decode_live_through_a_stop_signal_at_their_start(monkeypatch, number):
    def hit_then_ignore(*worker):
        os.kill(os.getpid(), number)
        ignore_stop_signals(*worker)

    monkeypatch.setattr("noisybench.data.prefetch.ignore_stop_signals", hit_then_ignore)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    requests = [(np.array([row]),) for row in range(5)]
    found = list(feed([Numbers()], requests, torch.device("cpu"), workers=1))
    assert [int(part) for (part,) in found] == list(range(5))
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before  # this process hears them again


def test_when_checkpoints_are_written(tmp_path, monkeypatch):
    written = []
    real = checkpoint_file.save_checkpoint

    def spy(folder, step, content):
        written.append(step)
        return real(folder, step, content)

    monkeypatch.setattr(checkpoint_file, "save_checkpoint", spy)
    for changes, expected in (
        ({}, [5, 10, 15]),
        ({"checkpoint_steps": 4}, [4, 5, 8, 10, 12, 15]),
        ({"checkpoint_minutes": 1e-9}, [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10, 10, 11, 12, 13, 14, 15, 15]),
        ({"checkpoint_minutes": 0}, [5, 10, 15]),
    ):
        written.clear()
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        run_config = config(folder, **changes)
        assert noisybench.run(run_config).run_id == config(None).run_id
        assert written == expected
        kept = [f"step-{step:09d}.safetensors" for step in sorted(set(expected))[-2:]]
        assert [file.name for file in checkpoint_file.checkpoints(folder / "checkpoints")] == kept


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(tmp_path, whole):
    folder = tmp_path / "run"
    stopped(folder, 2.5, checkpoint_steps=3)
    previous, newest = checkpoint_file.checkpoints(folder / "checkpoints")
    assert (previous.name, newest.name) == ("step-000000012.safetensors", "step-000000013.safetensors")
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    # What a writer leaves that is killed: a temporary file, here of a step that is never reached again.
    litter = [folder / ".metrics.jsonl.123.tmp", folder / "checkpoints" / ".step-000000099.safetensors.123.tmp"]
    for file in litter:
        file.write_bytes(b"half")
    progress = SignalAt(float("inf"))
    same(whole("mslg"), noisybench.run(config(folder), resume=True, progress=progress), folder)
    assert progress.said[0].startswith(f"warning: checkpoint {newest}: cannot be read (")
    assert progress.said[0].endswith(f"; falling back to {previous.name}, the one before it")
    assert not any(file.exists() for file in litter)


def test_a_damaged_checkpoint_does_not_outlive_the_run_that_passed_it_over(tmp_path):
    folder = tmp_path / "run"
    stopped(folder, 2.5, checkpoint_steps=3)
    newest = checkpoint_file.checkpoints(folder / "checkpoints")[-1]
    newest.write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):  # cut off at the next checkpoint, step 12 again
        noisybench.run(config(folder, checkpoint_minutes=1e-9), resume=True, progress=CutOff())
    steps = [file.name[5:14] for file in checkpoint_file.checkpoints(folder / "checkpoints")]
    assert steps == ["000000013", "000000014"]
    checkpoint_file.load_checkpoint(newest)


class CutOff(Progress):
    """Cuts a run off after its third step, without a warning."""

    steps = 0

    def step(self, done):
        self.steps += 1
        if self.steps == 3:
            raise KeyboardInterrupt


def test_without_a_whole_checkpoint_nothing_goes_on(tmp_path, cli):
    folder = tmp_path / "run"
    stopped(folder, 2.5)
    kept = checkpoint_file.checkpoints(folder / "checkpoints")
    for file in kept:
        file.write_bytes(b"x")
    with pytest.raises(UserError, match="no checkpoint is left to go on from .* delete the folder to start"):
        noisybench.run(config(folder), resume=True)
    assert [file.read_bytes() for file in kept] == [b"x", b"x"]
    for file in kept:
        file.unlink()
    noisybench.run(config(folder), resume=True)  # none yet: from the start


def test_a_folder_with_nothing_but_leftovers_is_an_empty_one(tmp_path):
    (tmp_path / ".config.json.123.tmp").write_text("{")
    (tmp_path / ".lock").touch()
    noisybench.run(config(tmp_path, epochs=1))
    assert not (tmp_path / ".config.json.123.tmp").exists()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of its own, of 4 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*") if f.is_file() and f.name[0] != "."}


def test_a_full_disk_costs_nothing_that_was_saved(small_disk, whole):
    folder, ballast = small_disk / "run", small_disk / "ballast"
    stopped(folder, 2.2)
    saved = contents(folder)
    room = os.statvfs(small_disk)
    ballast.write_bytes(bytes(room.f_bavail * room.f_frsize - 100_000))  # less than a checkpoint
    with pytest.raises(UserError, match=r"checkpoints: cannot be written \(no space left on device\); .* intact"):
        noisybench.run(config(folder, checkpoint_steps=1), resume=True)
    left = contents(folder)
    assert {name: left[name] for name in saved if name != "config.json"} == {
        name: saved[name]
        for name in saved
        if name != "config.json"  # it holds checkpoint_steps
    }
    assert not list(folder.rglob(".*.tmp"))
    ballast.write_bytes(b"")
    ballast.write_bytes(bytes(os.statvfs(small_disk).f_bavail * room.f_frsize))  # not one byte
    with pytest.raises(UserError, match=r"(cannot be written|no space left)"):
        noisybench.run(config(small_disk / "another"))
    ballast.unlink()
    same(whole("mslg"), noisybench.run(config(folder), resume=True), folder)


@pytest.fixture
def read_only():
    """Make a folder read-only; for root, whom modes do not stop, by mounting it so."""
    made = []

    def make(folder: Path) -> str:
        if os.geteuid() != 0:
            for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
                each.chmod(0o555)
                made.append(["chmod", "755", each])
            return "Permission denied"
        for options in (["--bind"], ["-o", "remount,bind,ro"]):
            done = subprocess.run(["mount", *options, folder, folder], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
            made.append(["umount", "-l", folder])
        return "Read-only file system"

    yield make
    for command in made[:1] if made and made[0][0] == "umount" else made:
        subprocess.run(command, check=True)


def test_a_read_only_folder_is_told_and_left_alone(tmp_path, read_only):
    disk = tmp_path / "disk"
    noisybench.run(config(disk / "finished", epochs=1))
    stopped(disk / "begun", 1.5)
    saved = contents(disk)
    reason = read_only(disk)
    for folder in (disk / "begun", disk / "new"):
        with pytest.raises(UserError, match=rf"--output {folder}: cannot be written \({reason}\)"):
            noisybench.run(config(folder), resume=True)
    assert noisybench.run(config(disk / "finished", epochs=1), resume=True).status == "completed"
    assert contents(disk) == saved


def test_two_runs_on_one_folder(tmp_path, whole):
    class Second(Progress):
        refused = 0

        def step(self, done):
            if done == 1.2:
                for resume in (False, True):
                    with pytest.raises(FolderInUse, match=f"in use by .*process {os.getpid()}; wait"):
                        noisybench.run(config(tmp_path / "run"), resume=resume)
                    self.refused += 1

    second = Second()
    same(whole("mslg"), noisybench.run(config(tmp_path / "run"), progress=second), tmp_path / "run")
    assert second.refused == 2
    lock = FolderLock(tmp_path / "run")
    lock.acquire()  # it was let go
    lock.release()


def test_a_suite_stops_in_order_and_goes_on(tmp_path, cli, monkeypatch, whole):
    monkeypatch.chdir(tmp_path)
    card = 'title = "Tiny"\ndatasets = ["synthetic"]\nnoises = ["symmetric"]\nnoise_rates = [0.3]\nmethods = ["mslg"]\n'
    Path("tiny.toml").write_text(card + "seeds = 2\n[overrides]\nbatch_size = 30\nsettings = {warmup_epochs = 1}\n")
    real = Checkpoints.due

    def signalled(checkpoints, step):
        if step == 7:
            monkeypatch.setattr(Checkpoints, "due", real)
            signal.raise_signal(signal.SIGUSR1)
        return real(checkpoints, step)

    monkeypatch.setattr(Checkpoints, "due", signalled)
    code, out, err = cli("bench", "run", "tiny.toml", "--jobs", "1")
    run_id = config(None).run_id
    folder = Path("runs/tiny") / run_id
    assert (code, err) == (143, "") and f"stopped by SIGUSR1 after step 7, saved in {folder}" in out
    assert f"1 {State.INTERRUPTED}, 1 {State.TO_DO}" in out and "2 left to do; the same command goes on" in out
    with_lock = FolderLock(folder)
    with_lock.acquire()
    code, out, _ = cli("bench", "run", "tiny.toml", "--jobs", "1")
    assert code == 1 and "in use: --output" in out and f"1 {State.DONE}, 1 {State.INTERRUPTED}" in out
    with_lock.release()
    code, out, _ = cli("bench", "run", "tiny.toml", "--jobs", "1")
    assert code == 0 and f"2 {State.DONE}" in out
    assert (folder / "metrics.jsonl").read_bytes() == whole("mslg")[1]


@pytest.mark.slow
def test_one_process_two_processes_one_process(tmp_path):
    """Stopped on one in the second epoch, on two (where the signal comes to the second) in the third, ended on one."""
    given = {"method": "stopping_method:StoppedFromWithin", "model": "noisybench_mlp", "precision": "float64"}
    given |= {"dataset": "synthetic", "noise_rate": 0.3, "batch_size": 30, "epochs": 3, "settings": METHODS["mslg"]}
    unbroken = noisybench.run(noisybench.RunConfig(**given, output=tmp_path / "whole"))
    folder = tmp_path / "run"
    with pytest.raises(RunStopped):
        noisybench.run(noisybench.RunConfig(**given, output=folder), progress=SignalAt(1.4))
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    command += ["-m", "noisybench", "run", "--resume", "--method", given["method"], "--model", given["model"]]
    command += ["--dataset", "synthetic", "--noise-rate", "0.3", "--batch-size", "30", "--epochs", "3"]
    command += ["--set", "precision=float64", "--set", "method.warmup_epochs=1", "--output", str(folder)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "STOP_AT": "10"}
    here = Path(__file__).parents[1] / "helpers"
    done = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0 and done.stderr.count("noisybench: stopped by ") == 1, done.stderr
    # Both stop at one step, the one after the signal; what is saved does not say how many they were.
    saved = [checkpoint_file.load_checkpoint(file) for file in checkpoint_file.checkpoints(folder / "checkpoints")]
    assert [content["past"]["step"] for content in saved] == [10, 12]
    assert saved[1]["epoch"]["first_step"] == 10 and f"after step 12, saved in {folder}" in done.stderr
    resumed = noisybench.run(noisybench.RunConfig(**given, output=folder), resume=True)
    assert resumed.curves.keys() == unbroken.curves.keys()
    for name, curve in unbroken.curves.items():
        assert resumed.curves[name] == pytest.approx(curve, abs=1e-9), name
    networks = [
        checkpoint_file.load_checkpoint(checkpoint_file.checkpoints(each / "checkpoints")[-1])["method"]["network"]
        for each in (tmp_path / "whole", folder)
    ]
    for name, weight in networks[0].items():
        assert torch.allclose(weight, networks[1][name], rtol=0, atol=1e-9), name
