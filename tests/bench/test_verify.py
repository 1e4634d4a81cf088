"""Records run again: the command, the comparison, and what a board files and shows of it."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from records import make_record

from noisybench.bench.rerun import Files, command_of, config_again
from noisybench.bench.verify import chosen
from noisybench.core.errors import UserError
from noisybench.core.files import json_text
from noisybench.leaderboard.page_data import page_data
from noisybench.leaderboard.store import open_board
from noisybench.leaderboard.verifications import Verification, compared, load_all, save
from noisybench.spec.identity import run_id_of
from noisybench.spec.record import RunRecord, content_hash

BOARDS = Path(__file__).parents[2] / "leaderboards"
CARD = """
title = "Tiny"
datasets = ["synthetic"]
noises = ["symmetric"]
noise_rates = [0.4]
methods = ["ce"]
seeds = 2
epochs = 2
"""


@pytest.fixture
def tiny(cli, tmp_path, monkeypatch) -> Path:
    """A board of two tiny runs, in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(CARD)
    assert cli("bench", "run", "tiny.toml", "--jobs", "1")[0] == 0
    return tmp_path / "leaderboards" / "tiny"


def changed(file: Path, change) -> RunRecord:
    """Change a record in place, and hash it anew: a forgery that only running again finds."""
    content = json.loads(file.read_text())
    change(content)
    content["sha256"] = content_hash(content)
    file.write_text(json_text(content))
    return RunRecord.load(file)


def test_a_board_is_verified_once_and_shows_it(cli, tiny):
    files = sorted((tiny / "runs").iterdir())
    first, second = (RunRecord.load(file) for file in files)

    def forge(content):
        """Two of its 40 or so test images more, in the last epoch of everything that is read off it."""
        content["curves"]["test_accuracy"][-1] = 1.0
        for metrics in (content["metrics"], *content["heads"].values()):
            metrics["test_accuracy_last"] = metrics["test_accuracy_oracle"] = 1.0
            metrics["test_accuracy_last5"] = (1.0 + content["curves"]["test_accuracy"][0]) / 2
            for rule in ("noisy_val", "clean_val"):
                curve = content["curves"][f"{rule}_accuracy"]
                metrics[f"test_accuracy_best_{rule}"] = content["curves"]["test_accuracy"][curve.index(max(curve))]

    forged = changed(files[1], forge)
    code, out, err = cli("leaderboard", "verify", "tiny.toml", first.run_id)
    assert (code, err) == (0, "") and "1 of 2 runs: 1 bit-equal, 0 within 1 points, 0 outside, 0 not run" in out
    filed = tiny / "verifications" / f"{first.run_id}.json"
    content = json.loads(filed.read_text())
    assert content["outcome"] == "bit-equal" and content["differs"] == [] and content["difference"] == 0
    assert content["record"] == json.loads(files[0].read_text())["sha256"] and content["versions"] == first.versions
    before = filed.read_bytes(), filed.stat().st_mtime_ns

    code, out, _ = cli("leaderboard", "verify", "tiny.toml")
    assert code == 1 and f"({first.run_id}): known: bit-equal" in out
    assert (filed.read_bytes(), filed.stat().st_mtime_ns) == before
    found = Verification.model_validate_json((tiny / "verifications" / f"{second.run_id}.json").read_text())
    was, now = forged.metrics["test_accuracy_last"], second.metrics["test_accuracy_last"]
    assert found.outcome == "outside" and found.difference == pytest.approx(was - now) and was - now > 0.01
    assert "fingerprints.weights" not in found.differs and "curves.test_accuracy" in found.differs

    assert cli("leaderboard", "build", "tiny.toml")[0] == 0
    line = "2 of 2 runs"
    assert (
        line in (tiny / "README.md").read_text()
        and "1 bit-equal, 0 within 1 points" in (tiny / "README.md").read_text()
    )
    standings, problems = open_board("tiny.toml", tiny.parent).standings()
    assert problems == [] and line in page_data(standings)["board"]["notes"][-1]
    runs = {run["id"]: run["verified"] for run in page_data(standings)["runs"]}
    assert runs[first.run_id].startswith("bit-equal on cpu, ") and runs[second.run_id].startswith("outside 1 points")

    # A record that is put in the place of a verified one is not verified.
    changed(files[0], lambda content: content["cost"].update(wall_seconds=1.0))
    standings, problems = open_board("tiny.toml", tiny.parent).standings()
    assert list(standings.verifications) == [second.run_id] and "of another record than runs/" in problems[0]


def test_rerun_prints_the_command_and_compares(cli, tiny):
    file = sorted((tiny / "runs").iterdir())[0]
    record = RunRecord.load(file)
    code, out, _ = cli("rerun", file, "--print")
    assert code == 0 and not Path("runs/rerun").exists()
    command = shlex.split(out.replace("\n", " "))
    assert command[:2] == ["noisybench", "run"]
    code, out, _ = cli("run", *command[2:-2], "--dry-run")
    assert code == 0 and json.loads(out)["seed"] == record.config["seed"]
    code, out, err = cli("rerun", file)
    assert (code, err) == (0, "") and f"run {record.run_id}: bit-equal on cpu" in out
    assert RunRecord.load(Path("runs/rerun") / record.run_id / "result.json").fingerprints == record.fingerprints
    code, _, err = cli("rerun", file)
    assert code == 2 and "is there already; name a new folder by --output" in err


@pytest.mark.skipif(not BOARDS.is_dir(), reason="without the repository's boards")
def test_every_record_of_the_repository_has_its_command():
    """Also those of a release whose configurations had fewer fields."""
    records = open_board("digits-quick", BOARDS).records()
    assert len(records) >= 18
    for record in records[::5]:
        config = config_again(record, Files(), Path("x"))
        assert config.run_id == record.run_id
        command = command_of(config)
        assert command is not None and f"--method {record.config['method']} " in command and "--output x" in command


def test_comparison_by_hand():
    old = make_record("ce", accuracy=0.8)
    later = old.cost.model_copy(update={"wall_seconds": old.cost.wall_seconds + 1})
    again = old.model_copy(update={"cost": later})
    assert compared(old, again).outcome == "bit-equal"
    with_state = old.fingerprints.model_copy(update={"state": "5" * 64})  # not measured when the record was made
    assert compared(old, again.model_copy(update={"fingerprints": with_state})).outcome == "bit-equal"
    assert compared(again.model_copy(update={"fingerprints": with_state}), old).differs == ["fingerprints.state"]
    with pytest.raises(UserError, match="the record's own run, not another"):
        compared(old, old)

    def like(difference: float, **prints: str) -> RunRecord:
        metrics = old.metrics | {"test_accuracy_last": 0.8 + difference, "noise_detection_f1": 0.5}
        weights = old.fingerprints.model_copy(update={"weights": "0" * 64, **prints})
        return again.model_copy(update={"metrics": metrics, "fingerprints": weights})

    near = compared(old, like(0.004))
    assert near.outcome == "within" and near.difference == pytest.approx(0.004)
    assert near.differs == ["fingerprints.weights", "metrics.test_accuracy_last"]  # what is new is no difference
    assert compared(old, like(-0.02)).outcome == "outside"
    assert compared(old, like(-0.02), tolerance=0.02).outcome == "within"
    for name in ("dataset", "noise", "split"):
        with pytest.raises(UserError, match=f"another {name} than the record's: nothing is said of it"):
            compared(old, like(0.0, **{name: "1" * 64}))
    lost = compared(old, again.model_copy(update={"curves": {k: v for k, v in old.curves.items() if k != "memorised"}}))
    assert lost.outcome == "within" and lost.differs == ["curves.memorised"]
    with pytest.raises(UserError, match="is not run"):
        compared(old, make_record("ce", seed=1))


def test_the_draw_is_the_same_every_time_and_nested():
    records = [make_record("ce", seed=seed) for seed in range(12)]
    drawn = [record.run_id for record in chosen(records, [], 6)]
    assert drawn == [record.run_id for record in chosen(records[::-1], [], 6)] and len(set(drawn)) == 6
    assert drawn[:3] == [record.run_id for record in chosen(records, [], 3)]
    assert len([one for one in chosen(records[1:], [], 6) if one.run_id in drawn]) >= 5
    assert [record.run_id for record in chosen(records, [drawn[4]], None)] == [drawn[4]]
    with pytest.raises(UserError, match="unknown run of the board"):
        chosen(records, ["0" * 16], None)


def test_a_file_that_a_record_needs_is_asked_for(tmp_path):
    record = make_record("ce", dataset="cifar10", noise="human-worse", noise_file_sha256="a" * 64, noise_rate=0.0)
    with pytest.raises(
        UserError, match=r"reads a file of sha256 aaaaaaaaaaaaaaaa…, and none is given: name it by --no"
    ):
        config_again(record, Files(), tmp_path)
    (tmp_path / "other.npz").write_bytes(b"x")
    with pytest.raises(UserError, match=r"none of .*other\.npz has it"):
        config_again(record, Files(noise_files=[tmp_path / "other.npz"]), tmp_path)


def test_a_verification_that_is_none_is_left_out(tmp_path):
    record = make_record("ce")
    later = record.cost.model_copy(update={"wall_seconds": 0.5})
    good = compared(record, record.model_copy(update={"cost": later}))
    save(tmp_path, good)
    file = tmp_path / "verifications" / f"{record.run_id}.json"
    assert load_all(tmp_path, [record]) == ({record.run_id: good}, [])
    content = json.loads(file.read_text())
    for change in (
        {"outcome": "perfect"},
        {"host": "mine"},
        {"machine": "\x1b[2J"},
        {"difference": 2.0},
        {"metric": "x"},
    ):
        file.write_text(json.dumps(content | change))
        found, problems = load_all(tmp_path, [record])
        assert found == {} and len(problems) == 1 and "\x1b" not in problems[0]
    assert not {"host", "user"} & set(content)


@pytest.fixture
def foreign(tmp_path, monkeypatch) -> Path:
    """A record whose method is a module of the working directory, which says when it is imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code = "from pathlib import Path\nPath('imported').touch()\nfrom noisybench.methods.ce import CrossEntropy as M\n"
    Path("somebodys.py").write_text(code)
    record = open_board("digits-quick", BOARDS).records()[0]
    config = {**record.config, "method": "somebodys:M", "settings": {"x": 1.0}}
    record = record.model_copy(update={"config": config, "run_id": run_id_of(config)})
    runs = tmp_path / "boards" / "digits-quick" / "runs"
    runs.mkdir(parents=True)
    record.save(runs / f"{record.run_id}.json")
    yield runs / f"{record.run_id}.json"
    sys.modules.pop("somebodys", None)


@pytest.mark.skipif(not BOARDS.is_dir(), reason="without the repository's boards")
def test_nothing_that_only_reads_records_imports_what_they_name(cli, foreign):
    root = foreign.parents[2]
    for command in (
        ["leaderboard", "build", "digits-quick", "--root", root],
        ["leaderboard", "show", "digits-quick", "--root", root],
        ["leaderboard", "export", "digits-quick", "--root", root, "--format", "csv"],
        ["leaderboard", "validate", "digits-quick", "--root", root],
        ["leaderboard", "add", foreign, "--board", "digits-quick", "--root", root],
        ["compare", foreign, foreign],
        ["bench", "plan", "digits-quick", "--root", root],
    ):
        cli(*command)
        assert not Path("imported").exists(), command


@pytest.mark.skipif(not BOARDS.is_dir(), reason="without the repository's boards")
@pytest.mark.parametrize("command", ["rerun", "verify"])
def test_running_again_asks_before_it_imports(cli, foreign, command):
    given = ["rerun", foreign] if command == "rerun" else ["leaderboard", "verify", "digits-quick", "--root"]
    given += [] if command == "rerun" else [foreign.parents[2]]
    code, out, err = cli(*given)
    assert code == 2 and "importing that runs its code: add --import-methods if you trust it" in err
    assert err.count("\n") == 1 and not Path("imported").exists()
    cli(*given, "--import-methods")  # it has no setting x, so it does not run; but it was looked for
    assert Path("imported").exists()
