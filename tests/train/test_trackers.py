"""A tracker of another package, told what a run does; and one that fails, which costs the run nothing."""

from __future__ import annotations

import json

import pytest

import noisybench
from noisybench.spec.record import RunRecord

GROUP = "noisybench.trackers"
MODULE = """
    import json
    from noisybench.train.trackers import Tracker

    class Lines(Tracker):
        '''A line of JSON for everything that is told.'''

        def start(self, run):
            self.file = open(run.output / "told.jsonl", "a")
            self.tell("start", run.config.run_id, run.title)

        def tell(self, *what):
            self.file.write(json.dumps(what) + "\\n")

        def log(self, row, step):
            self.tell("log", step, row)

        def finish(self, results):
            self.tell("finish", results.record.run_id, results.noise.sha256, len(results.given_labels))

        def close(self):
            self.tell("close")
            self.file.close()

    class NoStart(Lines):
        title = "Carrier pigeons"
        hint = "feed them first"

        def start(self, run):
            raise OSError("no pigeon\\nhere")

    class NoLog(Lines):
        def log(self, row, step):
            raise ValueError("no pen")

    class NoFinish(Lines):
        def finish(self, results):
            raise ValueError("no seal")

    class NoClose(Lines):
        def close(self):
            raise ValueError("no lid")
"""
NAMES = {"lines": "Lines", "no-start": "NoStart", "no-log": "NoLog", "no-finish": "NoFinish", "no-close": "NoClose"}
SMALL = ("--limit-train", "300", "--epochs", "2", "--model", "noisybench_mlp")


@pytest.fixture
def trackers(plugin):
    plugin("mine", {GROUP: {name: f"my_trackers:{kind}" for name, kind in NAMES.items()}}, {"my_trackers.py": MODULE})


def told(folder) -> list[list]:
    return [json.loads(line) for line in (folder / "told.jsonl").read_text().splitlines()]


def test_it_is_listed_and_told_of_a_run(cli, trackers, tmp_path):
    code, out, _ = cli("trackers")
    assert code == 0 and "A line of JSON for everything that is told." in out and "wandb" in out
    folder = tmp_path / "run"
    assert cli("run", *SMALL, "--set", 'trackers=["lines"]', "--output", folder)[0] == 0
    record = RunRecord.load(folder / "result.json")
    plain = noisybench.resolve(noisybench.RunConfig(limit_train=300, epochs=2, model="noisybench_mlp"))
    assert record.run_id == plain.run_id
    start, first, second, finish, close = told(folder)
    assert start == ["start", record.run_id, "ce-digits-symmetric-0.4-seed0"]
    trained = 300 - sum(record.config[f"{name}_size"] for name in ("meta", "noisy_val", "clean_val"))
    steps = -(-trained // 64)
    assert [first[:2], second[:2]] == [["log", steps], ["log", 2 * steps]]
    assert [row["test_accuracy"] for _, _, row in (first, second)] == record.curves["test_accuracy"]
    assert finish == ["finish", record.run_id, record.fingerprints.noise, trained]
    assert close == ["close"]


@pytest.mark.parametrize(
    ("name", "said", "kinds"),
    [
        ("no-start", "Carrier pigeons is off for this run (no pigeon here); feed them first", None),
        ("no-log", "tracker 'no-log' is off from here on (no pen)", ["start", "close"]),
        (
            "no-finish",
            "tracker 'no-finish' has not taken all of the results; the local record is complete (no seal)",
            ["start", "log", "log", "close"],
        ),
        ("no-close", "tracker 'no-close' has not taken all so far (no lid)", None),
    ],
)
def test_one_that_fails_is_said_once_and_the_run_goes_on(cli, trackers, tmp_path, name, said, kinds):
    folder = tmp_path / "run"
    code, out, err = cli("run", *SMALL, "--set", f'trackers=["{name}"]', "--output", folder)
    assert code == 0, err
    assert " ".join((out + err).split()).count(said) == 1
    assert RunRecord.load(folder / "result.json").status == "completed"
    if kinds is not None:
        assert [kind for kind, *_ in told(folder)] == kinds


def test_several_trackers_are_told_whatever_one_of_them_does(cli, trackers, tmp_path):
    folder = tmp_path / "run"
    assert cli("run", *SMALL, "--set", 'trackers=["no-start", "lines"]', "--output", folder)[0] == 0
    assert [kind for kind, *_ in told(folder)] == ["start", "log", "log", "finish", "close"]


def test_names_that_cannot_be_used_are_refused_before_anything_is_written(cli, trackers, plugin, tmp_path):
    plugin("strange", {GROUP: {"bad": "bad_tracker:Bad"}}, {"bad_tracker.py": "class Bad: pass"})
    code, out, _ = cli("trackers")
    reason = "is bad_tracker:Bad, which is not a subclass of noisybench.train.trackers.Tracker"
    assert code == 0 and f"not usable: bad of strange: {reason}" in out
    folder = tmp_path / "run"
    code, _, err = cli("run", *SMALL, "--set", 'trackers=["bad"]', "--output", folder)
    assert code == 2 and err == f"noisybench: tracker 'bad' {reason}\n" and not folder.exists()
    code, _, err = cli("run", *SMALL, "--set", 'trackers=["lnes"]', "--dry-run")
    assert code == 2 and "unknown tracker 'lnes': did you mean lines" in err
