"""Starting several processes, and how a run of several ends when something is wrong: once, clearly, soon."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import psutil
import pytest
from distributed_runs import configuration, deviations, run_all

from noisybench.core.errors import UserError
from noisybench.parallel.launch import without_processes
from noisybench.spec.record import RunRecord

HELPERS = Path(__file__).parents[1] / "helpers"
# What a launcher says to the first of two processes.
LAUNCHED = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
SHORT = ["--limit-train", "300", "--epochs", "2", "--set", "precision=float64", "--model", "noisybench_mlp"]


def noisybench(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess:
    """The command line in a process of its own, from the folder where the failing methods are."""
    command = [sys.executable, "-m", "noisybench", *map(str, arguments)]
    return subprocess.run(
        command, cwd=HELPERS, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300
    )


def run_in_one_process(method: str, output: Path, **changes) -> None:
    """The same run as SHORT says, here."""
    run_all({output.name: configuration(method, "noisybench_mlp", **changes)}, output.parent)


@pytest.mark.slow
def test_processes_are_started_and_only_one_talks(tmp_path):
    found = noisybench("run", "--method", "ce", *SHORT, "--output", tmp_path / "two", "--processes", "2")
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    assert found.stdout.count("epoch 2/2") == 1 and found.stdout.count("ce on digits, symmetric") == 1
    assert RunRecord.load(tmp_path / "two" / "result.json").cost.processes == 2
    assert sorted(file.name for file in (tmp_path / "two").glob("[!.]*")) == [
        "checkpoints",
        "config.json",
        "metrics.jsonl",
        "noise.npz",
        "result.json",
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments, line",
    [
        (["--method", "cee"], "noisybench: unknown method 'cee': did you mean ce or sce or gce?"),
        (["--data-path", "nowhere"], "noisybench: --data-path nowhere: dataset 'digits' is built in"),
        (
            ["--method", "failing_methods:FailsToBuild"],
            "noisybench: process 1 of 2: method 'failing_methods:FailsToBuild' failed at step 0",
        ),
        (
            ["--method", "failing_methods:FailsInStep"],
            "noisybench: process 1 of 2: method 'failing_methods:FailsInStep' failed at step 6: ValueError: bad luck",
        ),
        (
            ["--method", "own_heads:DroppingHead"],
            "noisybench: model 'noisybench_mlp' on 2 processes: 0 (Dropout) of head is another on each process than on "
            "one; give --set batch_parts=2, which is part of the run id, or use one process",
        ),
        (
            ["--set", "mixed_precision=bf16", "--set", "precision=float32"],
            "noisybench: mixed_precision bf16 on 2 processes: rounding to bfloat16 makes it another run than on one; "
            "give --set batch_parts=2",
        ),
        (["--set", "batch_parts=3"], "noisybench: batch_parts 3 on 2 processes: it is for a run on 3 of them"),
    ],
    ids=["usage", "data", "one fails to build", "one fails in a step", "dropout", "bfloat16", "another number"],
)
def test_an_error_is_told_once(arguments, line, tmp_path):
    found = noisybench("run", *SHORT, "--output", tmp_path / "run", "--processes", "2", *arguments)
    assert found.returncode == 2
    assert found.stderr.startswith(line) and found.stderr.count("\n") == 1, found.stderr
    assert not (tmp_path / "run" / "result.json").exists()


@pytest.mark.slow
def test_a_killed_process_ends_the_run_which_is_then_resumed(tmp_path):
    # Long enough for a signal to come in time.
    method = ["--method", "failing_methods:EndsInStep"]
    command = ["run", *method, *SHORT, "--epochs", "40", "--processes", "2", "--output"]
    found = noisybench(*command, tmp_path / "broken", ENDING_SIGNAL="SIGKILL")
    assert found.returncode == 128 + 9
    assert found.stderr.startswith("noisybench: process 1 of 2 was ended by SIGKILL; give the same command with")
    assert found.stderr.count("\n") == 1, found.stderr
    # On with it, and stopped again: this time the launcher is asked to end.
    stopped = noisybench(*command, tmp_path / "broken", "--resume", ENDING_SIGNAL="SIGUSR1", ENDING="launcher")
    assert stopped.returncode == 143
    assert stopped.stderr.startswith("noisybench: stopped by SIGUSR1 after step ")
    assert stopped.stderr.endswith("--resume --processes 2\n") and stopped.stderr.count("\n") == 1, stopped.stderr
    assert noisybench(*command, tmp_path / "broken", "--resume").returncode == 0
    run_in_one_process("failing_methods:EndsInStep", tmp_path / "whole", epochs=40)
    assert max(deviations(tmp_path / "whole", tmp_path / "broken").values()) < 1e-10


@pytest.mark.slow
def test_a_method_that_steps_by_itself_ends_the_run_with_a_line(tmp_path):
    command = ["run", "--method", "failing_methods:StepsByItself", *SHORT, "--output", tmp_path / "run"]
    found = noisybench(*command, "--processes", "2")
    assert found.returncode == 2
    assert "its networks differ between the processes: step through context.step" in found.stderr
    assert found.stderr.startswith("noisybench: method 'failing_methods:StepsByItself' failed at step ")
    assert found.stderr.count("\n") == 1, found.stderr
    assert RunRecord.load(tmp_path / "run" / "result.json").status == "failed"


@pytest.mark.slow
def test_a_run_of_a_release_with_another_batchnorm_is_not_gone_on_with(tmp_path):
    command = ["run", *SHORT, "--model", "noisybench_cnn4", "--output", tmp_path / "run"]
    assert noisybench(*command).returncode == 0
    (tmp_path / "run" / "result.json").unlink()
    file = tmp_path / "run" / "config.json"
    stored = json.loads(file.read_text())
    del stored["config"]["batch_parts"]
    file.write_text(json.dumps(stored | {"config": stored["config"] | {"sync_batchnorm": False}}))
    found = noisybench(*command, "--resume", "--processes", "2")
    assert found.returncode == 2 and found.stderr.count("\n") == 1, found.stderr
    assert "begun by a release whose BatchNorm saw each process's own part of a batch" in found.stderr
    assert noisybench(*command, "--resume").returncode == 0


def test_parts_of_a_batch_are_for_so_many_processes(cli, tmp_path):
    code, _, errors = cli("run", "--set", "batch_parts=2", "--output", tmp_path / "run")
    assert code == 2 and errors.startswith("noisybench: batch_parts 2 on 1 process: it is for a run on 2 of them")
    assert not (tmp_path / "run").exists()


def test_one_launcher_is_enough(cli, monkeypatch, tmp_path):
    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    code, _, errors = cli("run", "--output", tmp_path / "run", "--processes", "2")
    assert code == 2 and errors.startswith("noisybench: --processes within accelerate launch or torchrun")
    monkeypatch.setenv("LOCAL_RANK", "1")  # the first process of the machine tells
    assert cli("run", "--output", tmp_path / "run", "--processes", "2") == (2, "", "")


def test_processes_are_left_out_of_the_command():
    assert without_processes(["run", "--processes", "2", "--seed", "1"]) == ["run", "--seed", "1"]
    assert without_processes(["run", "--seed", "1", "--processes=2"]) == ["run", "--seed", "1"]


def test_more_processes_than_gpus_are_refused(monkeypatch):
    from noisybench.parallel import connect

    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setattr(connect.torch.cuda, "device_count", lambda: 2)
    connect.check_processes(2)
    with pytest.raises(UserError, match="3 processes on a machine with 2 GPUs"):
        connect.check_processes(3)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    connect.check_processes(3)


def test_processes_that_accelerate_does_not_connect_are_refused(monkeypatch):
    from types import SimpleNamespace

    from noisybench.parallel import connect

    for name, value in LAUNCHED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(connect, "Accelerator", lambda **_: SimpleNamespace(num_processes=1))
    with pytest.raises(UserError, match="started 2 processes, and Accelerate connects 1"):
        connect.make_accelerator()


@pytest.mark.slow
def test_a_silent_process_ends_the_other(tmp_path):
    """A process that neither works nor is gone, as on a machine that the network has lost."""
    command = ["run", "--method", "failing_methods:EndsInStep", *SHORT, "--output", tmp_path / "run"]
    environment = {
        **os.environ,
        "ACCELERATE_USE_CPU": "true",
        "ENDING_SIGNAL": "SIGSTOP",
        "NOISYBENCH_SILENT_SECONDS": "6",
    }
    launched = [
        subprocess.Popen(
            [sys.executable, "-m", *torchrun(number, "127.0.0.1"), "-m", "noisybench", *map(str, command)],
            cwd=HELPERS,
            env=environment,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        for number in (0, 1)
    ]

    def end() -> None:
        for process in launched:
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()
            process.kill()

    at_last = threading.Timer(120, end)
    at_last.start()
    try:
        # torchrun itself goes on for minutes: it waits for the other one's goodbye.
        told = next((line for line in launched[0].stderr if line.startswith("noisybench: ")), None)
    finally:
        at_last.cancel()
        end()
    assert told == "noisybench: process 1 of 2 ended before its time; give the same command with --resume to go on\n"


# Two hosts: two network namespaces, joined by a virtual cable.

ADDRESSES = ("10.213.77.1", "10.213.77.2")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@pytest.fixture
def hosts():
    """Two hosts: a list of (namespace, network interface)."""
    name = uuid.uuid4().hex[:6]
    spaces, cables = [f"nb{name}{n}" for n in "ab"], [f"v{name}{n}" for n in "ab"]
    try:
        try:
            for space in spaces:
                ip("netns", "add", space)
            ip("link", "add", cables[0], "netns", spaces[0], "type", "veth", "peer", cables[1], "netns", spaces[1])
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no network namespaces here: {getattr(error, 'stderr', error)}")
        for space, cable, address in zip(spaces, cables, ADDRESSES, strict=True):
            ip("-n", space, "addr", "add", f"{address}/24", "dev", cable)
            ip("-n", space, "link", "set", cable, "up")
            ip("-n", space, "link", "set", "lo", "up")
        yield list(zip(spaces, cables, strict=True))
    finally:
        for space in spaces:
            with contextlib.suppress(OSError, subprocess.CalledProcessError):
                ip("netns", "del", space)


def on_two_hosts(hosts, launcher, *arguments: str | Path, **environment: str) -> list[subprocess.Popen]:
    """The command on both hosts, one process each.

    Args:
        launcher: from the host's number to the launcher's module and options.
    """
    return [
        subprocess.Popen(
            ["ip", "netns", "exec", space, sys.executable, "-m", *launcher(number), "-m", "noisybench"]
            + list(map(str, arguments)),
            cwd=HELPERS,
            env={**os.environ, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": cable, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number, (space, cable) in enumerate(hosts)
    ]


def accelerate(number: int) -> list[str]:
    options = f"--multi_gpu --num_machines 2 --num_processes 2 --machine_rank {number} --mixed_precision no"
    address = f"--main_process_ip {ADDRESSES[0]} --main_process_port 29513 --dynamo_backend no"
    return ["accelerate.commands.launch", *options.split(), *address.split()]


def torchrun(number: int, address: str = ADDRESSES[0]) -> list[str]:
    options = f"--nnodes 2 --nproc_per_node 1 --node_rank {number} --master_addr {address} --master_port 29514"
    return ["torch.distributed.run", *options.split()]


def ended(processes: list[subprocess.Popen], seconds: float) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of each; the test fails if one goes on for longer."""
    try:
        return [(p.returncode, *texts) for p in processes for texts in [p.communicate(timeout=seconds)]]
    finally:
        for process in processes:
            process.kill()


MSLG_SETTINGS = ["--set", "method.warmup_epochs=1", "--set", "method.kappa=4.0"]
MSLG = ["run", "--method", "mslg", *MSLG_SETTINGS, *SHORT, "--output"]


@pytest.mark.slow
def test_two_hosts_are_one(hosts, tmp_path):
    found = ended(on_two_hosts(hosts, accelerate, *MSLG, tmp_path / "two"), 240)
    assert [code for code, _, _ in found] == [0, 0], found
    own = [line for line in found[1][1].splitlines() if not line.startswith("[Gloo]")]  # torch 2.10 tells of its peers
    assert "epoch 2/2" in found[0][1] and own == []
    run_in_one_process("mslg", tmp_path / "one", settings={"warmup_epochs": 1, "kappa": 4.0})
    assert max(deviations(tmp_path / "one", tmp_path / "two").values()) < 1e-10


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_process_killed_on_one_host_ends_the_other(hosts, killed, tmp_path):
    command = ["run", "--method", "failing_methods:EndsInStep", *SHORT, "--output", tmp_path / "run"]
    failing = {"ENDING_SIGNAL": "SIGKILL", "FAILING_RANK": str(killed)}
    # A minute for the end, and what the start takes.
    found = ended(on_two_hosts(hosts, torchrun, *command, **failing), 120)
    code, _, errors = found[1 - killed]
    assert code != 0
    lines = [line for line in errors.splitlines() if line.startswith("noisybench: ")]
    assert len(lines) == 1 and "ended before its time; give the same command with --resume" in lines[0], errors
    if killed == 1:
        resumed = ended(on_two_hosts(hosts, torchrun, *command, "--resume"), 240)
        assert [code for code, _, _ in resumed] == [0, 0], resumed
        run_in_one_process("failing_methods:EndsInStep", tmp_path / "one")
        assert max(deviations(tmp_path / "one", tmp_path / "run").values()) < 1e-10
