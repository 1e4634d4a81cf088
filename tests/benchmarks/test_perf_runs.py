"""`python -m benchmarks runs`: several runs at once, what their records say, and that no process is left behind."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import signal
import statistics
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path

import crew_pieces
import psutil
import pytest
import torch

from benchmarks.perf import runs
from benchmarks.perf.gpu import GpuUse, GpuWatch, ask, gpu_name
from benchmarks.perf.problem import Size
from benchmarks.perf.records import Hardware
from benchmarks.perf.runs import Procedure, Round, RunLength, cifar10_run, measure_runs, meet, run_minutes, run_records
from benchmarks.perf.show import report
from benchmarks.perf.stretches import EVALUATION, MAIN, WARM_UP, Assignment, Stretch, stretches
from benchmarks.perf.subjects import Variant
from benchmarks.perf.together import Crew, ProcessFailed
from noisybench.core.errors import UserError
from noisybench.methods.mslg import MSLG

CPU = torch.device("cpu")
SIZE = Size("noisybench_cnn4", batch_size=8, classes=10, side=8, rows=20)
PHASES = {WARM_UP: 1, MAIN: 2, EVALUATION: 3}
ASSIGNMENT = Assignment(Variant("mslg", "mslg"), SIZE, PHASES, 5, 30, 2, "cpu", 1, "fp32", False)
TINY = ("--model", "noisybench_cnn4", "--image-size", "8", "--batch-size", "8", "--images", "20", "--device", "cpu")
FEW = ("--evaluated", "30", "--steps", "5", "--repeats", "2", "--epochs-of-run", "60")
MACHINE = Hardware(
    cpu="A processor",
    cores=2,
    threads=1,
    gpu=None,
    torch="2.11.0",
    date="2026-01-02",
    keeps_freed_memory=False,
    load=0.5,
)


# --- processes that meet -------------------------------------------------------------------------------------------


def test_all_processes_wait_for_each_other_before_each_piece(tmp_path):
    with Crew(crew_pieces.come_at_different_times, tmp_path, 2) as crew:
        for _ in range(2):
            crew.wait_until_ready()
            processes, ready, begun = zip(*crew.work(), strict=True)
            assert len(set(processes)) == 2
            assert min(begun) >= max(ready)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    "pieces, told",
    [
        (crew_pieces.raise_in_one, r"process [12] of 2: RuntimeError: out of ideas$"),
        (crew_pieces.die_in_one, r"process [12] of 2 died with exit code -9$"),
        (crew_pieces.die_before_the_piece, r"process [12] of 2 died with exit code -9$"),
    ],
)
def test_a_process_that_fails_ends_all(tmp_path, pieces, told):
    with pytest.raises(ProcessFailed, match=told), Crew(pieces, tmp_path, 2) as crew:
        crew.wait_until_ready()
        crew.work()
    assert not multiprocessing.active_children()


def test_no_process_outlives_the_first_one(tmp_path):
    script = (
        "import pathlib, crew_pieces\n"
        "from benchmarks.perf.together import Crew\n"
        "if __name__ == '__main__':\n"
        "    crew = Crew(crew_pieces.sleep_long, pathlib.Path(sys.argv[1]), 2)\n"
        "    crew.wait_until_ready()\n"
        "    crew.work()\n"
    )
    tests = Path(__file__).parents[1]
    (tmp_path / "first.py").write_text(
        f"import sys\nsys.path[:0] = [{str(tests / 'helpers')!r}, {str(tests.parent)!r}]\n{script}"
    )
    folder = tmp_path / "working"
    folder.mkdir()
    first = subprocess.Popen([sys.executable, str(tmp_path / "first.py"), str(folder)])
    until(lambda: len(list(folder.iterdir())) == 2)
    workers = [int(each.name) for each in folder.iterdir()]
    assert all(psutil.pid_exists(number) for number in workers)
    first.send_signal(signal.SIGKILL)
    first.wait()
    until(lambda: not any(alive(number) for number in workers))


def alive(number: int) -> bool:
    try:
        return psutil.Process(number).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def until(met) -> None:
    """Wait for something that comes; far longer than it needs."""
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# --- what a process measures ---------------------------------------------------------------------------------------


def test_stretches_train_in_the_methods_phases_and_count_every_image(monkeypatch):
    seen, step = [], MSLG.training_step

    def watched_step(self, batch):
        before = self.context.store["label_logits"].clone()
        output = step(self, batch)
        moved = not torch.equal(before, self.context.store["label_logits"])
        seen.append((batch.epoch, moved))
        return output

    monkeypatch.setattr(MSLG, "training_step", watched_step)
    found = [piece() for piece in stretches(ASSIGNMENT)]
    # Batches of 8, 8 and 4 images; three steps of warming up, then two stretches of five.
    assert [stretch.samples for stretch in found[:4]] == [8 + 8 + 4 + 8 + 8, 4 + 8 + 8 + 4 + 8] * 2
    assert [stretch.samples for stretch in found[4:]] == [30, 30]
    assert [(stretch.done, stretch.in_epoch) for stretch in found] == [(5, 3)] * 4 + [(30, 30)] * 2
    assert seen == [(0, False)] * 13 + [(2, True)] * 13
    assert all(stretch.seconds > 0 for stretch in found)


def test_only_the_phases_asked_for_are_measured_and_evaluation_is_shortened():
    found = [
        piece() for piece in stretches(replace(ASSIGNMENT, phases={MAIN: 3, EVALUATION: 3}, steps=2, evaluated=400))
    ]
    assert [stretch.samples for stretch in found[2:]] == [16, 16]
    assert [(stretch.done, stretch.in_epoch) for stretch in found] == [(2, 3)] * 2 + [(16, 400)] * 2


def test_a_method_that_picks_nothing_is_told(monkeypatch):
    monkeypatch.setattr(MSLG, "epoch_plan", lambda self, epoch: [])
    with pytest.raises(UserError, match="method 'mslg' failed at step 0: epoch_plan leaves no row to train on"):
        list(stretches(ASSIGNMENT))


def test_an_epoch_is_its_start_and_its_steps():
    assert Stretch(samples=40, seconds=2.0, done=5, in_epoch=20, before=0.5).epoch_seconds == 0.5 + 20 * 0.4


# --- what the records say ------------------------------------------------------------------------------------------


def test_a_round_is_timed_from_when_all_are_ready_to_the_last_end():
    happened = []
    found = [Stretch(40, 2.0, 5, 20, 0.0), Stretch(36, 1.0, 5, 20, 0.0)]
    crew = types.SimpleNamespace(
        wait_until_ready=lambda: happened.append("ready"), work=lambda: happened.append("work") or found
    )
    times = iter([10.0, 14.0])

    def clock():
        happened.append("clock")
        return next(times)

    met = meet(crew, None, clock)
    assert happened == ["ready", "clock", "work", "clock"]
    assert met.samples_per_second == (40 + 36) / 4
    assert met.epoch_seconds == (8 + 4) / 2
    assert met.gpu is None


def rounds(samples: int, *seconds: float, processes: int = 1, gpu: GpuUse | None = None) -> list[Round]:
    """Rounds in which all processes are equally fast; ten steps are an epoch's half."""
    return [Round(each, [Stretch(samples, each, 10, 20, 0.0)] * processes, gpu) for each in seconds]


def test_records_compare_with_the_smallest_number_of_runs():
    phases = {WARM_UP: 44, MAIN: 76, EVALUATION: 120}
    found = {
        1: {WARM_UP: rounds(80, 1, 2, 4), MAIN: rounds(80, 3, 5, 4), EVALUATION: rounds(160, 1, 1, 1)},
        4: {
            WARM_UP: rounds(80, 2, 2, 2, processes=4),
            MAIN: rounds(80, 8, 8, 8, processes=4),
            EVALUATION: rounds(160, 3, 3, 3, processes=4),
        },
    }
    records = run_records(found, phases, {"method": "mslg"}, MACHINE)
    table = {(r.setup.get("phase"), r.quantity, r.name): r for r in records}
    assert len(table) == len(records) == 3 * 2 * 2 + 2
    rate = table[MAIN, "samples per second", "4 runs at once"]
    assert rate.values == [4 * 80 / 8] * 3 and rate.unit == "samples/s" and rate.baseline == "1 run"
    assert rate.ratio == (4 * 80 / 8) / (80 / 4)
    assert table[WARM_UP, "time of an epoch", "1 run"].values == [2, 4, 8]
    minutes = table[None, "minutes per run", "1 run"]
    # Two epochs in four seconds or so: each round of one phase goes with the same round of the others.
    epochs = [44 * 2 + 76 * 6 + 120 * 2, 44 * 4 + 76 * 10 + 120 * 2, 44 * 8 + 76 * 8 + 120 * 2]
    assert minutes.values == pytest.approx([each / 60 for each in epochs]) and minutes.unit == "min"
    assert minutes.setup == {"method": "mslg", "epochs": 120, "epochs of warm-up": 44}
    shared = table[None, "minutes per run", "4 runs at once"]
    assert shared.values == pytest.approx([(44 * 4 + 76 * 16 + 120 * 6) / 60] * 3)
    assert shared.ratio == pytest.approx(statistics.median(shared.values) / statistics.median(minutes.values))


def test_gpu_records_are_there_only_where_every_round_has_seen_the_gpu():
    idle, busy = GpuUse(0.0, 2**30), GpuUse(0.5, 3 * 2**30)
    phases = {MAIN: 2, EVALUATION: 2}
    found = {
        1: {MAIN: rounds(8, 1, 1, gpu=idle), EVALUATION: rounds(8, 1, gpu=busy) + rounds(8, 1)},
        2: {MAIN: rounds(8, 1, 1, gpu=busy), EVALUATION: rounds(8, 1, 1, gpu=busy)},
    }
    records = run_records(found, phases, {}, MACHINE)
    of_gpu = [(r.setup["phase"], r.name, r.quantity, r.values) for r in records if r.quantity.startswith("GPU")]
    assert of_gpu == [
        (MAIN, "1 run", "GPU busy", [0, 0]),
        (MAIN, "2 runs at once", "GPU busy", [0.5, 0.5]),
        (MAIN, "1 run", "GPU memory in use", [2**30, 2**30]),
        (MAIN, "2 runs at once", "GPU memory in use", [3 * 2**30, 3 * 2**30]),
    ]


def test_minutes_without_warm_up():
    found = {MAIN: rounds(80, 3), EVALUATION: rounds(80, 1.5)}
    assert run_minutes(found, {MAIN: 10, EVALUATION: 10}) == [10 * (6 + 3) / 60]


def test_defaults_are_cifar10s_and_warm_up_is_the_recipes():
    assert cifar10_run() == RunLength(epochs=120, images=50_000 - 4_000 - 500 - 500, evaluated=10_000 + 500 + 500)
    assert [runs.warm_up_epochs("mslg", epochs) for epochs in (120, 60, 1)] == [44, 22, 0]
    assert runs.warm_up_epochs("mlnt", 120) == 60  # 120 of its 240
    assert runs.warm_up_epochs("ce", 120) == 0
    assert runs.phases_of("mslg", RunLength(60, 20, 5)) == {WARM_UP: 22, MAIN: 38, EVALUATION: 60}
    assert runs.phases_of("ce", RunLength(60, 20, 0)) == {MAIN: 60}


@pytest.mark.parametrize("given, expected", [(None, {1: 8, 3: 2, 16: 1}), (5, {1: 5, 3: 5, 16: 5})])
def test_threads_are_shared_out_or_as_given(monkeypatch, given, expected):
    asked = {}

    def record(assignment, number, watch):
        asked[number] = assignment.threads
        return {phase: rounds(8, 1) for phase in assignment.phases}

    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(runs, "measure_together", record)
    length, chosen = RunLength(2, 20, 0), [Variant("ce", "ce")]
    measure_runs(chosen, SIZE, length, CPU, Procedure([16, 1, 3], steps=1, repeats=1, threads=given))
    assert asked == expected


def test_what_was_measured_before_a_failure_is_kept_and_more_runs_are_not_tried(monkeypatch):
    tried = []

    def fail_from_two(assignment, number, watch):
        tried.append((assignment.variant.name, number))
        if number > 1:
            raise ProcessFailed("process 2 of 2: OutOfMemoryError: none left")
        return {phase: rounds(8, 1) for phase in assignment.phases}

    monkeypatch.setattr(runs, "measure_together", fail_from_two)
    chosen = [Variant("ce", "ce"), Variant("mslg", "mslg")]
    found = measure_runs(chosen, SIZE, RunLength(60, 20, 0), CPU, Procedure([1, 2, 4], steps=1, repeats=1))
    assert tried == [("ce", 1), ("ce", 2), ("mslg", 1), ("mslg", 2)]
    assert {r.setup.get("phase") for r in found.records} == {WARM_UP, MAIN, None}  # nothing is evaluated
    reason = "process 2 of 2: OutOfMemoryError: none left"
    assert found.failed == {"ce, 2 runs at once": reason, "mslg, 2 runs at once": reason}
    minutes = [(r.setup["method"], r.name) for r in found.records if r.quantity == "minutes per run"]
    assert minutes == [("ce", "1 run"), ("mslg", "1 run")]


# --- the GPU -------------------------------------------------------------------------------------------------------


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Make a stand-in for nvidia-smi that runs a line of shell; it notes its arguments in ``asked``."""

    def make(line: str) -> Path:
        program = tmp_path / "bin" / "nvidia-smi"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nN=$(wc -l < {tmp_path}/asked)\n{line}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
        return tmp_path / "asked"

    return make


def test_nvidia_smi_is_asked_for_one_gpu(nvidia_smi):
    asked = nvidia_smi("echo '75, 2048'")
    assert ask("GPU-12ab") == GpuUse(0.75, 2048 * 1024 * 1024)
    query = "--query-gpu=utilization.gpu,memory.used --format=csv,noheader,nounits -i GPU-12ab"
    assert asked.read_text() == f"{query}\n"


@pytest.mark.parametrize(
    "line, told",
    [
        ("echo '[N/A], 2048'", "nvidia-smi says '[N/A], 2048'"),
        ("echo No devices were found; exit 6", "nvidia-smi says 'No devices were found'"),
        ("echo 1, 2; echo 3, 4", "nvidia-smi says '1, 2 3, 4'"),
    ],
)
def test_what_nvidia_smi_does_not_know_is_told(nvidia_smi, line, told):
    nvidia_smi(line)
    with pytest.raises(UserError) as raised:
        ask("GPU-12ab")
    assert str(raised.value) == told


def test_a_watch_gives_the_mean_of_the_answers(nvidia_smi):
    asked = nvidia_smi('echo "$N, $((1000 - N))"')
    with GpuWatch("GPU-12ab", every=0.001, window=0) as watch:
        until(lambda: asked.exists() and asked.read_text().count("\n") >= 5)
    answers = asked.read_text().count("\n")
    means = [statistics.fmean(range(1, last + 1)) / 100 for last in (answers - 1, answers)]  # the last may be too late
    assert any(watch.use.busy == pytest.approx(mean) for mean in means)
    assert watch.use.memory == 999 * 2**20 and not watch.missed


def test_a_watch_without_answers_says_why(nvidia_smi):
    asked = nvidia_smi("echo 50, 1000")
    with GpuWatch("GPU-12ab", every=0.001, window=1000) as watch:
        until(lambda: asked.exists() and asked.read_text().count("\n") >= 2)
    assert watch.use is None and watch.missed == ["a stretch took no longer than 1000 s: give more --steps"]
    asked.unlink()
    nvidia_smi("[ $N -lt 3 ] && echo 50, 1000 || echo gone")
    with GpuWatch("GPU-12ab", every=0.001, window=0) as watch:
        until(lambda: asked.exists() and asked.read_text().count("\n") >= 3)
    assert watch.use is None and watch.missed == ["nvidia-smi says 'gone'"]  # half of a mean is none


def test_a_gpu_is_named_by_its_uuid_and_watched_where_nvidia_smi_is(nvidia_smi, monkeypatch, tmp_path):
    properties = types.SimpleNamespace(uuid="7d1c8a9e-0000-1111-2222-333344445555")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    gpu = torch.device("cuda")
    assert gpu_name(gpu) == "GPU-7d1c8a9e-0000-1111-2222-333344445555"
    asked = nvidia_smi("echo 50, 1000")
    watch, notes = runs.watch_of(gpu)
    assert isinstance(watch, GpuWatch) and not notes and asked.read_text().endswith(f"-i {gpu_name(gpu)}\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert runs.watch_of(gpu) == (None, ["not measured: GPU busy, GPU memory in use: there is no nvidia-smi"])
    assert runs.watch_of(CPU) == (None, [])


class FakeWatch(contextlib.nullcontext):
    """A GPU that is always used alike; a use of None stands for one that does not tell."""

    def __init__(self, use: GpuUse | None):
        super().__init__()
        self.use, self.missed = use, [] if use else ["it is shy", "it is shy"]


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_runs_prints_and_files_what_it_measured(benchmarks, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "watch_of", lambda device: (FakeWatch(GpuUse(0.75, 2**30)), []))
    file = tmp_path / "perf.json"
    code, out, err = benchmarks("runs", *TINY, *FEW, "--methods", "mslg", "--together", "2,1", "--json", file)
    assert code == 0 and not err, err
    entries = json.loads(file.read_text())
    found = {(e["setup"].get("phase"), e["quantity"], e["name"]): e for e in entries}
    names, phases = ("1 run", "2 runs at once"), (WARM_UP, MAIN, EVALUATION)
    of_gpu = ("GPU busy", "GPU memory in use")
    quantities = dict.fromkeys(phases, ("samples per second", "time of an epoch", *of_gpu))
    quantities[EVALUATION] = quantities[EVALUATION][:2]
    expected = {(phase, quantity, name) for phase in phases for quantity in quantities[phase] for name in names}
    assert found.keys() == expected | {(None, "minutes per run", name) for name in names}
    for name in names:
        epochs = {phase: found[phase, "time of an epoch", name]["values"] for phase in phases}
        minutes = found[None, "minutes per run", name]
        of_60 = [(22 * w + 38 * m + 60 * e) / 60 for w, m, e in zip(*epochs.values(), strict=True)]
        assert minutes["values"] == pytest.approx(of_60) and len(of_60) == 2
    setup = found[None, "minutes per run", "1 run"]["setup"]
    assert (setup["epochs"], setup["epochs of warm-up"], setup["steps measured"], setup["images"]) == (60, 22, 5, 20)
    for entry in entries:
        if entry["quantity"].startswith("GPU"):
            assert entry["ratio"] is None
            continue
        baseline = found[entry["setup"].get("phase"), entry["quantity"], "1 run"]
        assert entry["baseline"] == (None if entry["name"] == "1 run" else "1 run")
        if entry["baseline"] is not None:
            ratio = statistics.median(entry["values"]) / statistics.median(baseline["values"])
            assert entry["ratio"] == ratio and f"{ratio:.3f}" in out
    shown = report([file])
    assert "75 % (75 % – 75 %)" in shown and " min (" in shown and "not measured" not in out
    header = "phase | runs | samples per second | × 1 run | time of an epoch | × 1 run | GPU busy | GPU memory in use"
    assert f"| {header} |" in shown


@pytest.mark.slow
def test_what_fails_is_told_the_rest_is_filed_and_options_reach_the_processes(benchmarks, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "watch_of", lambda device: (FakeWatch(None), []))
    monkeypatch.setenv("TELLS_HOW", str(tmp_path))
    monkeypatch.setattr(torch, "set_num_threads", lambda number: None)  # of this process, for good
    file = tmp_path / "perf.json"
    methods = ("--methods", "measured_methods:Raises,measured_methods:TellsHow", "--together", "1")
    how = ("--precision", "bf16", "--channels-last", "--threads", "2")
    code, out, err = benchmarks("runs", *TINY, *FEW, *methods, *how, "--json", file)
    assert code == 1 and not err, err
    told = out.splitlines()[-2:]
    assert told[0] == "not measured: GPU busy, GPU memory in use: it is shy"
    reason = "method 'measured_methods:Raises' failed at step 4: RuntimeError: out of ideas"
    assert told[1] == f"not measured: measured_methods:Raises, 1 run: process 1 of 1: {reason}"
    entries = json.loads(file.read_text())
    assert {entry["setup"]["method"] for entry in entries} == {"measured_methods:TellsHow"}
    quantities = {entry["quantity"] for entry in entries}
    assert quantities == {"samples per second", "time of an epoch", "minutes per run"}
    assert {entry["setup"]["threads of a run"] for entry in entries} == {2}
    ways = [json.loads(each.read_text()) for each in tmp_path.glob("[0-9]*.json")]
    assert ways == [{"computed": "torch.bfloat16", "channels_last": True, "threads": 2}]
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (("--together", "0,1"), "--together 0,1: write different numbers of at least 1"),
        (("--together", "two"), "--together two: write whole numbers separated by commas"),
        (("--methods", "mslgg"), "unknown method 'mslgg'"),
        (("--methods", "mslg[double-backward]"), "only a method's own step trains whole runs"),
        (("--methods", "mslg[kappa=-1]"), "method.kappa"),
        (("--images", "9", "--batch-size", "16"), "--images 9: at least a batch of 16"),
        (("--precision", "fp16"), "--precision fp16: choose fp32 or bf16"),
        (("--device", "tpu"), "--device tpu: choose cpu or cuda"),
        (("--model", "resnet5"), "unknown model 'resnet5'"),
        (("--json", "nowhere/perf.json"), "there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line_before_any_process_starts(benchmarks, monkeypatch, arguments, expected):
    monkeypatch.setattr(runs, "Crew", None)
    code, out, err = benchmarks("runs", *arguments)
    assert code == 2 and err.count("\n") == 1 and expected in err and not out, err
