"""Suites: what they run, skip, resume, leave alone and file; several real workers on one folder."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

import noisybench
from noisybench.bench import leases
from noisybench.bench.estimate import estimate, known_records
from noisybench.bench.plan import Selection, State, forward_images, parse_shard, plan, steps, take_shard
from noisybench.bench.report import LiveReport
from noisybench.bench.worker import Event
from noisybench.core.errors import UserError
from noisybench.leaderboard.store import open_board
from noisybench.spec import registry
from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve
from noisybench.spec.record import RunRecord
from noisybench.train.progress import Progress

CARD = """
title = "Tiny"
datasets = ["synthetic"]
noises = ["symmetric"]
noise_rates = [0.2, 0.4]
methods = ["ce", "gce"]
seeds = {seeds}
epochs = {epochs}
"""


@pytest.fixture
def card(tmp_path, monkeypatch) -> Path:
    """A card of four runs of three epochs, in the working directory."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "tiny.toml"
    file.write_text(CARD.format(seeds=1, epochs=3))
    return file


def suite_of(card: Path, **selection):
    board = open_board(str(card), Path("leaderboards"))
    return plan(board.card, Path("runs/tiny"), board, Selection(**selection))


def states(suite) -> list[str]:
    return [str(suite.status(run).state) for run in suite.runs]


def records(tmp_path: Path) -> list[RunRecord]:
    return open_board(str(tmp_path / "tiny.toml"), tmp_path / "leaderboards").records()


def test_expansion(card):
    suite = suite_of(card, seeds=2, methods=["gce", "mslg"])
    assert [run.label for run in suite.runs] == [
        f"{method} · synthetic · symmetric {rate} % · seed {seed}"
        for seed in (0, 1)
        for rate in (20, 40)
        for method in ("gce", "mslg")
    ]
    first = suite.runs[1]
    alone = resolve(RunConfig(method="mslg", dataset="synthetic", noise="symmetric", noise_rate=0.2, seed=0, epochs=3))
    assert first.run_id == alone.run_id and first.config.output == Path("runs/tiny") / alone.run_id
    assert set(states(suite)) == {"to do"} and not Path("runs").exists()


@pytest.mark.parametrize("count", [*range(1, 9), 12, 13, 50])
def test_shards_are_disjoint_complete_and_balanced(card, count):
    runs = suite_of(card, seeds=2, methods=["ce", "mslg", "gce"]).runs
    parts = [take_shard(runs, number, count) for number in range(1, count + 1)]
    ids = [run.run_id for part in parts for run in part]
    assert sorted(ids) == sorted(run.run_id for run in runs) and len(set(ids)) == 12
    costs = [sum(forward_images(run.config) for run in part) for part in parts]
    assert max(costs) - min(costs) <= max(forward_images(run.config) for run in runs)
    for part in parts:
        assert part == [run for run in runs if run in part]  # the card's order within a shard


@pytest.mark.parametrize("text", ["0/3", "4/3", "3", "a/b", "1/0", "-1/3", "1/2/3"])
def test_a_wrong_shard_is_refused(card, cli, text):
    code, _, err = cli("bench", "run", card, "--shard", text)
    assert code == 2 and err.startswith(f"noisybench: --shard {text!r}: ") and not Path("runs").exists()
    with pytest.raises(UserError):
        parse_shard(text)


def test_wrong_names_are_refused_before_anything_runs(card, cli):
    for arguments, line in [
        (("run", card, "--methods", "ce,mslgg"), "unknown method 'mslgg'"),
        (("run", "digits-quik"), "unknown benchmark 'digits-quik'"),
        (("plan", "none.toml"), "none.toml: no such file"),
        (("run", card, "--methods", "ce,ce"), "a run is named twice"),
        (("plan", card, "--shards", "3"), "--shards: only with --slurm FILE"),
    ]:
        code, _, err = cli("bench", *arguments)
        assert code == 2 and line in err, err
    assert not Path("runs").exists() and not Path("leaderboards").exists()


def test_work_of_a_run():
    config = resolve(RunConfig(method="mslg", dataset="synthetic", noise_rate=0.2, epochs=3))
    assert steps(config) == 3 * 3  # 200 images less 30 + 10 + 10 held out, 60 a batch
    assert forward_images(config) == 10 * 9 * 60
    one_left = resolve(RunConfig(method="ce", dataset="synthetic", noise_rate=0.2, epochs=3, batch_size=149))
    assert steps(one_left) == 3  # 150 = 149 + 1, and a last batch of one is none


def test_a_dataset_whose_size_depends_on_its_files_has_no_known_cost(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("bench", "plan", "food101n", "--seeds", "3", "--shard", "2/4")
    assert code == 0 and not err
    assert "2 runs: 2 to do" in out and "2 runs: no record of the method, and the size of the dataset" in out
    runs = plan(registry.benchmark_card("food101n"), tmp_path, None).runs
    assert len(runs) == 6 and {forward_images(run.config) for run in runs} == {None}
    shards = [take_shard(runs, number, 4) for number in (1, 2, 3, 4)]
    assert sorted(len(shard) for shard in shards) == [1, 1, 2, 2]
    assert sorted(run.run_id for shard in shards for run in shard) == sorted(run.run_id for run in runs)


def test_done_is_skipped_interrupted_resumed_and_all_filed(card, cli, monkeypatch):
    suite = suite_of(card)

    class StopAfterFirst(Progress):
        def epoch(self, row):
            raise KeyboardInterrupt

    noisybench.run(suite.runs[0].config)
    with pytest.raises(KeyboardInterrupt):
        noisybench.run(suite.runs[1].config, progress=StopAfterFirst())
    assert states(suite) == ["done", "interrupted", "to do", "to do"]
    assert suite.status(suite.runs[1]).detail == "1 of 3 epochs done"
    left = estimate(suite, suite.runs[1], suite.status(suite.runs[1]), [])
    assert left.forward_images == pytest.approx(2 / 3 * forward_images(suite.runs[1].config))

    trained = []
    real = noisybench.run

    def spy(config, *, resume, progress):
        class Both(Progress):
            def epoch(self, row):
                trained.append((config.run_id, row["epoch"]))
                progress.epoch(row)

        return real(config, resume=resume, progress=Both())

    monkeypatch.setattr(noisybench, "run", spy)
    code, out, err = cli("bench", "run", card, "--jobs", "1")
    ids = [run.run_id for run in suite.runs]
    assert (code, err) == (0, "") and "4 done" in out
    assert trained == [(ids[1], 1), (ids[1], 2), *((run_id, epoch) for run_id in ids[2:] for epoch in range(3))]
    assert {record.run_id for record in records(card.parent)} == set(ids)
    monkeypatch.setattr(noisybench, "run", real)
    alone = noisybench.run(suite.runs[1].config.model_copy(update={"output": Path("alone")}))
    resumed = next(record for record in records(card.parent) if record.run_id == ids[1])
    assert alone.fingerprints == resumed.fingerprints

    monkeypatch.setattr(noisybench, "run", None)  # nothing is run any more
    code, out, _ = cli("bench", "run", card, "--jobs", "1")
    assert code == 0 and "started" not in out
    costs = known_records(suite, [suite.status(run) for run in suite.runs])
    more = suite_of(card, seeds=2)
    guess = estimate(more, more.runs[4], more.status(more.runs[4]), costs)
    seconds = [record.cost.wall_seconds for record in costs if record.config["method"] == "ce"]
    assert guess.seconds == pytest.approx(sum(seconds) / 2) and guess.basis == "2 records of the same method on cpu"


def test_what_failed_is_left_alone_unless_asked_for(card, cli, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "helpers")
    arguments = ("bench", "run", card, "--jobs", "1", "--methods", "broken_methods:RaisesAtStep3,ce")
    suite = suite_of(card, methods=["broken_methods:RaisesAtStep3", "ce"])
    code, out, _ = cli(*arguments)
    assert code == 1 and states(suite) == ["failed", "done", "failed", "done"]
    assert "failed: method 'broken_methods:RaisesAtStep3' failed at step 3: RuntimeError: out of ideas" in out
    assert len(records(card.parent)) == 2

    calls = []
    real = noisybench.run
    monkeypatch.setattr(noisybench, "run", lambda config, **rest: calls.append(config.run_id) or real(config, **rest))
    code, out, _ = cli(*arguments)
    assert code == 1 and calls == [] and "try them again with --retry-failed" in out
    code, out, _ = cli(*arguments, "--retry-failed")
    assert code == 1 and calls == [suite.runs[0].run_id, suite.runs[2].run_id]
    failed = RunRecord.load(suite.folder(suite.runs[0]) / "result.failed.json")
    assert failed.status == "failed"
    code, out, _ = cli("bench", "plan", card, "--methods", "broken_methods:RaisesAtStep3,ce")
    assert code == 0 and "4 runs: 2 done, 2 failed" in out and "out of ideas" in out


def test_a_damaged_result_is_reported_and_kept(card, cli):
    suite = suite_of(card, methods=["ce"])
    noisybench.run(suite.runs[0].config)
    result = suite.folder(suite.runs[0]) / "result.json"
    result.write_text(result.read_text().replace('"seed": 0', '"seed": 9'))
    code, out, _ = cli("bench", "run", card, "--methods", "ce", "--jobs", "1")
    assert code == 1 and states(suite) == ["failed", "done"] and "does not match its sha256" in out


def test_a_record_the_board_refuses_is_told(card, cli):
    suite = suite_of(card, methods=["ce"])
    settings = {"method": "ce", "dataset": "synthetic", "noise": "symmetric", "noise_rate": 0.2, "epochs": 3}
    other = noisybench.run(RunConfig(**settings, batch_size=50, output=Path("other")))
    open_board(str(card), Path("leaderboards")).add([Path("other")])
    code, out, _ = cli("bench", "run", card, "--methods", "ce", "--jobs", "1")
    assert code == 1 and states(suite) == ["done", "done"]
    assert f"not filed: {suite.runs[0].label}" in out and f"is taken by run {other.run_id}" in out


def test_plan_names_who_has_a_lease_and_no_file_files_nothing(card, cli):
    suite = suite_of(card, methods=["ce"])
    with leases.acquire(suite.lease_folder, suite.runs[1].run_id):
        code, out, _ = cli("bench", "plan", card, "--methods", "ce")
        assert code == 0 and f"process {os.getpid()}" in out and "2 runs: 1 leased, 1 to do" in out
        assert suite.status(suite.runs[1]).state == State.LEASED
    code, out, _ = cli("bench", "run", card, "--methods", "ce", "--no-file", "--jobs", "1")
    assert code == 0 and "2 done" in out and not Path("leaderboards").exists()


def test_the_slurm_script_covers_the_suite(card, cli, tmp_path):
    code, out, _ = cli("bench", "plan", card, "--seeds", "3", "--slurm", "job.sh", "--shards", "5")
    assert code == 0 and "12 runs: 12 to do" in out
    text = Path("job.sh").read_text()
    assert "#SBATCH --array=1-5\n" in text and subprocess.run(["bash", "-n", "job.sh"]).returncode == 0
    # The script as its tasks would run it, with a stand-in for the command that prints what it is given.
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "noisybench"
    stand_in.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    given = []
    for task in range(1, 6):
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": str(task)}
        done = subprocess.run(["bash", "job.sh"], env=environment, capture_output=True, text=True, check=True)
        given.append(done.stdout.split("\n")[:-1])
    assert given[1] == ["bench", "run", str(card), "--seeds", "3", "--root", "leaderboards", "--shard", "2/5"]
    assert [arguments[-1] for arguments in given] == [f"{task}/5" for task in range(1, 6)]


def start_worker(card: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-u", "-m", "noisybench", "bench", "run", card, *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        # A test run that itself was started in the background hands on that Ctrl-C is ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def leased(suite) -> dict[str, int]:
    """Process numbers by the run id that they lease; without leases that are being written or released."""
    pids = {}
    for file in suite.lease_folder.glob("*.lease"):
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            pids[file.name.partition(".")[0]] = json.loads(file.read_text())["pid"]
    return pids


def running(suite, pid: int):
    """The run that a process has the lease of, with at least one epoch done and no result yet."""
    pids = leased(suite)
    for run in suite.runs:
        if pids.get(run.run_id) == pid and suite.epochs_done(run) and not (suite.folder(run) / "result.json").exists():
            return run
    return None


@pytest.mark.slow
def test_twelve_runs_three_workers_one_killed_midway(card):
    card.write_text(CARD.format(seeds=3, epochs=4))
    suite = suite_of(card)
    workers = [start_worker(card, "--jobs", "1") for _ in range(3)]
    victim = workers[0]
    while True:  # stopped first, so that what is seen is still so when it is killed
        assert victim.poll() is None
        if running(suite, victim.pid):
            victim.send_signal(signal.SIGSTOP)
            cut_off = running(suite, victim.pid)
            if cut_off:
                break
            victim.send_signal(signal.SIGCONT)
        time.sleep(0.03)
    victim.kill()
    outputs = [worker.communicate()[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [-signal.SIGKILL, 0, 0], outputs

    ids = [run.run_id for run in suite.runs]
    assert len(set(ids)) == 12 and set(states(suite)) == {"done"}
    filed = records(card.parent)  # reading refuses a record that is twice there, or changed
    assert sorted(record.run_id for record in filed) == sorted(ids)
    for run_id in ids:
        told = "".join(outputs)
        assert told.count(f"({run_id}): done") == 1, told
        assert told.count(f"({run_id}): started") == (2 if run_id == cut_off.run_id else 1), told
    assert not list(suite.lease_folder.iterdir())
    alone = noisybench.run(cut_off.config.model_copy(update={"output": Path("alone")}))
    resumed = next(record for record in filed if record.run_id == cut_off.run_id)
    assert alone.fingerprints == resumed.fingerprints and alone.metrics == resumed.metrics


@pytest.mark.slow
def test_jobs_go_on_without_one_that_is_killed(card):
    card.write_text(CARD.format(seeds=1, epochs=40))
    suite = suite_of(card)
    process = start_worker(card, "--jobs", "2")
    while True:
        assert process.poll() is None, process.communicate()
        pids = set(leased(suite).values())
        at_work = [pid for pid in pids if running(suite, pid)]
        if len(pids) == 2 and at_work:
            break
        time.sleep(0.03)
    os.kill(at_work[0], signal.SIGKILL)
    out = process.communicate()[0]
    assert process.returncode == 0 and f"(process {at_work[0]}) died with exit code -9" in out, out
    assert set(states(suite)) == {"done"} and len(records(card.parent)) == 4 and out.count(": started") >= 5


@pytest.mark.slow
def test_ctrl_c_ends_all_processes_and_says_what_is_left(card):
    card.write_text(CARD.format(seeds=1, epochs=2000))
    suite = suite_of(card)
    process = start_worker(card, "--jobs", "2")
    while len(list(suite.lease_folder.glob("*.lease"))) < 2 or not any(suite.epochs_done(run) for run in suite.runs):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out = process.communicate(timeout=300)[0]
    assert process.returncode == 130 and "4 left to do; the same command goes on from here" in out, out
    assert "Traceback" not in out and not list(suite.lease_folder.glob("*.lease"))


def test_the_live_table_has_what_is_at_work_and_what_went_wrong(card):
    suite = suite_of(card)
    suite.mark_failed(suite.runs[3], "Traceback …\nOSError: [disk] full")
    terminal = Console(file=io.StringIO(), force_terminal=True, width=150)
    with LiveReport(suite, terminal) as report:
        report(Event(suite.runs[1].run_id, "started"))
        report(Event(suite.runs[1].run_id, "epoch", epochs=2))
        report(Event(suite.runs[0].run_id, "done"))
    last = terminal.file.getvalue().rpartition("1 done")[2]
    assert "1 failed, 1 running, 1 to do" in last
    assert re.search(r"gce · synthetic · symmetric 20 % · seed 0 *│ running *│ 2/3 ", last)
    assert re.search(r"gce · synthetic · symmetric 40 % · seed 0 *│ failed *│ *│ OSError: \[disk\] full ", last)
    assert f" {suite.runs[0].label}" not in last


def test_noise_that_reads_a_file_is_given_one(card, cli):
    card.write_text(card.read_text().replace('"symmetric"', '"symmetric", "feature-dependent"'))
    code, _, err = cli("bench", "plan", card)
    assert code == 2 and "reads a file" in err
    for wrong, line in [
        ("symetric:x.npz", "did you mean symmetric?"),
        ("feature-dependent", "write KIND:FILE"),
        ("feature-dependent:none.npz", "none.npz: no such file"),
    ]:
        code, _, err = cli("bench", "plan", card, "--noise", wrong)
        assert code == 2 and line in err, err
    Path("predictions.npz").write_bytes(b"read when it runs")
    code, out, _ = cli("bench", "plan", card, "--noise", "feature-dependent:predictions.npz", "--slurm", "job.sh")
    assert code == 0 and "8 runs: 8 to do" in out
    assert " --noise feature-dependent:predictions.npz " in Path("job.sh").read_text()
