"""W&B against its real client, offline: what it wrote is read back."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import wandb
from records import make_board, make_record
from wandb_file import read_records

import noisybench
from noisybench.core.errors import RunStopped, UserError
from noisybench.core.files import json_text
from noisybench.leaderboard.filing import as_filed
from noisybench.leaderboard.store import open_board
from noisybench.leaderboard.validate import read_record
from noisybench.leaderboard.wandb import pull, push
from noisybench.spec.record import MAX_BYTES
from noisybench.train.progress import Progress
from noisybench.train.wandb_tracker import label_histogram


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_ENTITY", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "NETRC"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    wandb.teardown()  # the client reads its environment once and keeps it
    yield
    wandb.teardown()


def written(folder: Path) -> tuple[Path, dict[str, list]]:
    """The one offline run below a folder, and what it holds by kind of message."""
    wandb.teardown()  # the client's own process has written everything when it has ended
    (run,) = folder.glob("wandb/offline-run-*")
    (file,) = run.glob("run-*.wandb")
    found: dict[str, list] = {}
    for record in read_records(file):
        kind = record.WhichOneof("record_type")
        found.setdefault(kind, []).append(getattr(record, kind))
    return run, found


def items(messages) -> dict:
    """Key-value updates of all messages, the last one winning; nested keys as nested dicts."""
    found: dict = {}
    for message in messages:
        for item in message.item if hasattr(message, "item") else message.update:
            *parents, last = item.nested_key or [item.key]
            inner = found
            for parent in parents:
                inner = inner.setdefault(parent, {})
            inner[last] = json.loads(item.value_json)
    return found


def test_a_run_is_logged_whole_and_its_record_comes_back(tmp_path):
    output = tmp_path / "run"
    settings = {"warmup_epochs": 1}
    config = noisybench.RunConfig(
        method="mslg", limit_train=400, epochs=2, output=output, wandb=True, settings=settings
    )
    record = noisybench.run(config)
    run, found = written(output)
    config = items(found["config"])
    assert config["method"] == "mslg"
    assert config["optimizer"]["lr"] == record.config["optimizer"]["lr"]
    assert "output" not in config
    rows = [items([message]) for message in found["history"]]
    tests = [row["test_accuracy"] for row in rows if "test_accuracy" in row]
    assert tests == record.curves["test_accuracy"]
    logged = [row["method/label_gap"] for row in rows if "method/label_gap" in row]
    assert (
        logged == [value for value in record.curves["method/label_gap"] if value is not None]
        and "label_gap" not in rows[1]
    )
    summary = items(found["summary"])
    assert summary["test_accuracy_last"] == record.metrics["test_accuracy_last"]
    assert summary["noise_sha256"] == record.fingerprints.noise
    histogram = next(row["labels/given"] for row in rows if "labels/given" in row)
    assert len(histogram["values"]) == 10
    assert sum(histogram["values"]) == round(record.cost.samples_per_second * record.cost.train_seconds / 2)
    assert any("labels/estimated" in row for row in rows)
    assert read_record((output / "result.json").read_text(), "x") == noisybench.RunRecord.load(output / "result.json")
    (artifact,) = found["artifact"]
    assert artifact.type == "noise"
    assert artifact.name == f"noise-{record.fingerprints.noise[:16]}"
    assert any(file.path == "result.json" for message in found["files"] for file in message.files)
    assert (run / "files" / "result.json").read_bytes() == (output / "result.json").read_bytes()


def test_no_login_is_said_and_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    from noisybench.train.progress import Progress

    said = []

    class Listener(Progress):
        def say(self, line):
            said.append(line)

    config = noisybench.RunConfig(limit_train=400, epochs=1, output=tmp_path / "run", wandb=True)
    record = noisybench.run(config, progress=Listener())
    assert (tmp_path / "run" / "result.json").is_file()
    assert record.status == "completed"
    assert any("W&B is off" in line and "WANDB_MODE=offline" in line for line in said)


@pytest.fixture
def board(tmp_path):
    board = open_board("digits-quick", tmp_path / "leaderboards")
    board.add_records([(record, "x") for record in make_board(seeds=2)])
    return board


def test_push_writes_tables_and_plots(board, tmp_path):
    line = push(board, "team/boards")
    assert "36 runs" in line
    assert "wandb sync" in line
    run, found = written(tmp_path)
    logged = items(found["history"])
    assert {"standings", "runs", "mean_accuracy_table", "page"} <= {key.split(".")[0] for key in logged} | set(logged)
    table = json.loads((run / "files" / logged["runs"]["path"]).read_text())
    assert len(table["data"]) == 36
    accuracy = {row[0]: row[table["columns"].index("test_accuracy_last")] for row in table["data"]}
    assert accuracy == {record.run_id: record.metrics["test_accuracy_last"] for record in board.records()}
    standings = json.loads((run / "files" / logged["standings"]["path"]).read_text())
    assert len(standings["data"]) == 5 * 6 * 4
    assert found["run"][0].entity == "team"
    assert found["run"][0].project == "boards"


def test_push_without_a_login_says_so(board, cli, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    code, _, err = cli("leaderboard", "push", "digits-quick", "--wandb", "team/boards", "--root", board.folder.parent)
    assert code == 2
    assert "wandb login" in err
    assert "Traceback" not in err
    with pytest.raises(UserError, match="ENTITY/PROJECT"):
        push(board, "boards")


def project_of(folder: Path):
    """A stand-in for ``wandb.Api`` over a folder of texts: ID/result.json, or ID without one."""

    def files(path: Path):
        def listed(names):
            def download(root, replace):
                shutil.copy(path / names[0], Path(root) / names[0])

            found = [path / name for name in names if (path / name).is_file()]
            return [SimpleNamespace(name=file.name, size=file.stat().st_size, download=download) for file in found]

        return listed

    def runs(project):
        assert project == "team/boards"
        return [SimpleNamespace(id=path.name, files=files(path)) for path in sorted(folder.iterdir())]

    return SimpleNamespace(runs=runs)


def test_a_run_that_is_stopped_leaves_no_connection_open(tmp_path):
    class Stop(Progress):
        def step(self, done):
            if done > 1:
                signal.raise_signal(signal.SIGTERM)

    asked = noisybench.RunConfig(method="ce", dataset="synthetic", epochs=3, output=tmp_path / "run", wandb=True)
    config = noisybench.resolve(asked)
    with pytest.raises(RunStopped):
        noisybench.run(config, progress=Stop())
    assert wandb.run is None
    run, found = written(tmp_path / "run")
    assert run.name.endswith(config.run_id) and len(found["history"]) == 1 and len(found["exit"]) == 1
    shutil.rmtree(run.parent)
    noisybench.run(config, resume=True)
    run, found = written(tmp_path / "run")
    assert run.name.endswith(config.run_id) and len(found["history"]) == 2


def test_pull_files_what_is_right_and_refuses_the_rest(board, tmp_path):
    known = board.records()[0]
    fresh, other = make_record("sce", noise_rate=0.2), make_record("sce", noise_rate=0.3)
    stored = {"a-known": known, "b-fresh": fresh, "c-other": other, "d-edited": make_record("gce", seed=7)}
    for name, record in stored.items():
        (tmp_path / "project" / name).mkdir(parents=True)
        record.save(tmp_path / "project" / name / "result.json")
    (tmp_path / "project" / "e-foreign").mkdir()
    edited = tmp_path / "project" / "d-edited" / "result.json"
    edited.write_text(edited.read_text().replace('"test_accuracy_last": 0.8', '"test_accuracy_last": 0.9'))
    lines = pull(board, "team/boards", project_of(tmp_path / "project"))
    assert len(lines) == 6
    for line, words in zip(
        lines, ("already", "filed", "no cell", "sha256", "no result.json", "1 filed, 4 not"), strict=True
    ):
        assert words in line
    assert (board.runs / f"{fresh.run_id}.json").read_text() == json_text(as_filed(fresh).content())
    assert len(board.records()) == 37


def test_pull_refuses_each_hostile_run_by_itself(board, tmp_path):
    """Whatever one run of a project is, the right ones are filed, and each other is refused in visible text."""
    right = make_record("sce", noise_rate=0.2, seed=1)
    folder = tmp_path / "project"
    texts = {
        "a-right": json_text(make_record("sce", noise_rate=0.2).content()).encode(),
        "b-no-text": b"\xff\xfe",
        "c-not-json": b"[" * 100_000,
        "d-hostile": json_text(make_record("s\u0441e\x1b[2J").content()).encode(),
        "e-path": json_text(make_record("gce", seed=5, settings={"a": "/home/somebody/x"}).content()).encode(),
        "f-large": bytes(MAX_BYTES + 1),
        "g\x1b[2J\u202e": b"{}",
        "z-right": json_text(right.content()).encode(),
    }
    for name, content in texts.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "result.json").write_bytes(content)
    api = project_of(folder)

    def runs(project):
        yield from api.runs(project)
        for size in (None, "many", 10**30):
            file = SimpleNamespace(name="result.json", size=size, download=None)
            yield SimpleNamespace(id=f"size-{str(size)[:4]}", files=lambda names, file=file: [file])

        def lost(root, replace):
            raise requests.HTTPError("404 Client Error\x1b[2J")

        file = SimpleNamespace(name="result.json", size=10, download=lost)
        yield SimpleNamespace(id="lost", files=lambda names: [file])

    lines = pull(board, "team/boards", SimpleNamespace(runs=runs))
    assert len(lines) == 8 + 4 + 1 and lines[-1] == "2 filed, 10 not"
    reasons = {
        "a-right": "filed",
        "b-no-text": "not text of a record's size",
        "c-not-json": "not a record's JSON",
        "d-hostile": r"'s\u0441e\x1b[2J', holds '\u0441'",
        "e-path": "config.settings.a holds a path",
        "f-large": "16000001 bytes",
        r"'g\x1b[2J\u202e'": "schema version None",
        "z-right": "filed",
        "size-None": "None bytes",
        "size-many": "many bytes",
        "size-1000": "1000",
        "lost": "cannot be had (404",
    }
    for line, (name, reason) in zip(lines, reasons.items(), strict=False):
        assert f"team/boards/{name}: " in line and reason in line, line
        assert line.startswith("refused: ") != (reason == "filed")
    assert len(board.records()) == 38
    assert not list(board.folder.glob("**/.*.tmp"))


def test_pull_without_a_login_says_so(board):
    with pytest.raises(UserError, match="wandb login"):
        pull(board, "team/boards")


def test_label_histogram_counts_every_class():
    counts, edges = label_histogram(np.array([0, 2, 2]), 4)
    assert counts.tolist() == [1, 0, 2, 0]
    assert edges.tolist() == [-0.5, 0.5, 1.5, 2.5, 3.5]
