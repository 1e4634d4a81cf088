"""What is filed names no place of somebody's machine, and is filed whole or not at all, by one process at a time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from records import make_board, make_record, sealed, with_config

from noisybench.core.errors import UserError
from noisybench.core.files import json_text
from noisybench.leaderboard.build import build
from noisybench.leaderboard.filing import as_filed, named_place
from noisybench.leaderboard.store import open_board
from noisybench.leaderboard.validate import read_record
from noisybench.spec.record import RunRecord

PLACES = {
    "data_path": "/data/private/cifar10",
    "output": "/home/somebody/runs/x",
    "noise_file": "C:\\Users\\somebody\\noise.npz",
    "clean_labels": "~/checked.csv",
}


@pytest.fixture
def board(tmp_path):
    return open_board("digits-quick", tmp_path / "leaderboards")


def saved(folder: Path, record: RunRecord) -> Path:
    folder.mkdir(parents=True)
    record.save(folder / "result.json")
    return folder


def test_a_filed_record_has_no_path_and_its_own_hash(board, cli, tmp_path):
    record = make_record()
    record = RunRecord(**{**record.model_dump(), "config": record.config | PLACES})
    folder = saved(tmp_path / "run", record)
    code, out, _ = cli("leaderboard", "add", folder, "--root", board.folder.parent)
    assert code == 0 and out.startswith("1 filed under ")
    (file,) = board.runs.iterdir()
    text = file.read_text()
    assert "somebody" not in text and "private" not in text and "/" not in re.sub(r'"[a-z_]+/[a-z_]+"', "", text)
    filed = json.loads(text)
    assert filed["config"] == record.config | dict.fromkeys(PLACES)
    unlike = {name for name in filed if filed[name] != record.content()[name]}
    assert unlike == {"config", "sha256"}
    assert filed["run_id"] == record.run_id == file.stem
    (read,) = board.records()
    assert read.content() == filed and text == json_text(filed)
    assert cli("leaderboard", "validate", board.folder)[0] == 0
    assert json.loads((folder / "result.json").read_text())["config"]["output"] == PLACES["output"]
    # The same run again is nothing to do, wherever it lay.
    moved = saved(tmp_path / "moved", RunRecord(**{**record.model_dump(), "config": record.config | {"output": "x"}}))
    code, out, _ = cli("leaderboard", "add", folder, moved, "--root", board.folder.parent)
    assert code == 0 and out.startswith(f"0 filed under {board.runs}, 2 on the board already")
    assert file.read_text() == text


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"settings": {"weights": "/home/somebody/w.npz"}}, "config.settings.weights"),
        ({"settings": {"files": ["a", "~/b"]}}, "config.settings.files"),
        ({"settings": {"weights": "\\\\host\\share"}}, "config.settings.weights"),
        ({"settings": {"weights": "file:x"}}, "config.settings.weights"),
        ({"settings": {"note": "as in /home/somebody/x"}}, "config.settings.note"),
    ],
)
def test_a_path_elsewhere_in_a_record_is_refused(board, tmp_path, changes, place):
    record = make_record(**changes)
    old = RunRecord(**{**record.model_dump(), "schema_version": 1})
    for name, of in (("new", record), ("old", old)):
        with pytest.raises(UserError, match=re.escape(place) + " holds a path of somebody's machine"):
            board.add([saved(tmp_path / name, of)])
    assert not board.folder.exists()


def test_own_images_are_named_by_no_absolute_path():
    for dataset, named in (("imagefolder:/photos", True), ("csv:~/x.csv", True), ("imagefolder:photos", False)):
        assert (named_place(as_filed(make_record(dataset=dataset))) is not None) == named


@pytest.mark.parametrize("text", ["resnet50.tv_in1k", "hf-hub:timm/resnet18", "eps /255 and 1/2", "https://x.org/a"])
def test_what_is_no_path_is_taken(text):
    record = as_filed(make_record(settings={"a": text}))
    assert named_place(record) is None


def test_a_record_with_a_path_that_was_copied_there_is_refused(board, cli):
    record = make_record(output="/home/somebody/x")
    board.runs.mkdir(parents=True)
    record.save(board.runs / f"{record.run_id}.json")
    code, out, _ = cli("leaderboard", "validate", board.folder)
    assert code == 2 and "config.output is a path of somebody's machine" in out
    assert "as `noisybench leaderboard add` files them" in out
    # One of an earlier release is taken as it is: they were filed so.
    old = RunRecord(**{**record.model_dump(), "schema_version": 1})
    old.save(board.runs / f"{record.run_id}.json")
    assert cli("leaderboard", "validate", board.folder)[0] == 0
    assert not board._read()[2].holds(record)  # its schema differs
    assert board.add_records([(old, "x")]) == []


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "a/b", "..", "", "a\u200bb", "x\x1b[2J", ".hidden"])
def test_a_cards_name_does_not_leave_the_folder(cli, tmp_path, name):
    card = tmp_path / "card.toml"
    card.write_text(
        f'name = {json.dumps(name)}\ntitle = "x"\ndatasets = ["digits"]\nnoises = ["symmetric"]\nmethods = ["ce"]\n'
    )
    root = tmp_path / "a" / "b"
    for command in (("leaderboard", "build"), ("leaderboard", "show"), ("bench", "plan")):
        code, out, err = cli(*command, card, "--root", root)
        assert code == 2 and err.count("\n") == 1 and "a board's folder cannot be named" in err and "\x1b" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["card.toml"]


PAGES = ("README.md", "index.html")


@pytest.mark.parametrize("page", PAGES)
def test_foreign_pages_are_not_written_over(board, cli, page):
    board.add_records([(make_record(), "x")])
    (board.folder / page).write_text("# My notes\n")
    arguments = ("leaderboard", "build", "digits-quick", "--root", board.folder.parent)
    code, _, err = cli(*arguments)
    assert code == 2 and f"{board.folder / page}: not written by `noisybench leaderboard build`" in err
    assert (board.folder / page).read_text() == "# My notes\n"
    assert not any((board.folder / other).exists() for other in PAGES if other != page)  # both or none
    assert cli(*arguments, "--force")[0] == 0
    assert "noisybench leaderboard" in (board.folder / page).read_text()
    (board.folder / page).write_text((board.folder / page).read_text() + "old")
    assert cli(*arguments)[0] == 0  # its own earlier output
    assert not (board.folder / page).read_text().endswith("old")


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_pages_replace_regular_files_only(board, cli, tmp_path, page, kind):
    board.add_records([(make_record(), "x")])
    (tmp_path / "mine").write_text("Generated by `noisybench leaderboard build ")
    file = board.folder / page
    {"link": lambda: file.symlink_to(tmp_path / "mine"), "pipe": lambda: os.mkfifo(file), "folder": file.mkdir}[kind]()
    for force in ((), ("--force",)):
        code, _, err = cli("leaderboard", "build", "digits-quick", "--root", board.folder.parent, *force)
        assert code == 2 and err.count("\n") == 1 and f"{page}: " in err
    assert (tmp_path / "mine").read_text() == "Generated by `noisybench leaderboard build "


def test_records_are_not_filed_through_a_link(board, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    board.folder.mkdir(parents=True)
    board.runs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="runs: a link"):
        board.add_records([(make_record(), "x")])
    assert not list((tmp_path / "elsewhere").iterdir())


def test_a_full_disk_files_none(board, monkeypatch):
    records = make_board(rates=(0.4,), seeds=1)
    board.add_records([(records[0], "x")])
    links = iter([os.link, os.link])

    def link(source, target):
        try:
            next(links)(source, target)
        except StopIteration:
            raise OSError(28, "No space left on device") from None

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", link)
        with pytest.raises(UserError, match="cannot be written .*No space left"):
            board.add_records([(record, "x") for record in records[1:]])
    assert board.records() == [as_filed(records[0])]
    assert [file.name for file in board.runs.iterdir()] == [f"{records[0].run_id}.json"]


def test_what_stands_in_a_records_place_is_named(board):
    record = make_record()
    board.runs.mkdir(parents=True)
    (board.runs / f"{record.run_id}.json").write_text("{}")
    with pytest.raises(UserError, match=f"{record.run_id}.json is there, and no right record"):
        board.add_records([(record, "x")])
    assert (board.runs / f"{record.run_id}.json").read_text() == "{}"


# Two processes, or one that is killed. Each runs the command line with one function changed.

COMMAND = """
import os, signal, sys, time
from pathlib import Path
from noisybench.leaderboard import store, build
from noisybench.core import files
from noisybench.cli.main import main
{change}
main()
"""


def start(root: Path, change: str, *arguments) -> subprocess.Popen:
    code = COMMAND.format(change=change)
    command = [sys.executable, "-c", code, "leaderboard", *map(str, arguments), "--root", str(root)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_two_at_once_do_not_file_what_conflicts(tmp_path):
    """Each takes a second between looking and writing; the other starts within it, and is held off by the lock."""
    root = tmp_path / "lb"
    pair = [make_record(accuracy=0.8), make_record(accuracy=0.9, batch_size=32)]  # one place, two settings
    change = """
chosen = store.Board._chosen
def slowly(self, records, filed):
    found = chosen(self, records, filed)
    if self.folder.is_dir():
        time.sleep(1.0)
    return found
store.Board._chosen = slowly
"""
    root.mkdir()
    (root / "digits-quick" / "runs").mkdir(parents=True)
    folders = [saved(tmp_path / str(number), record) for number, record in enumerate(pair)]
    running = [start(root, change, "add", folder) for folder in folders]
    answers = [process.communicate(timeout=120) for process in running]
    assert sorted(process.returncode for process in running) == [0, 2]
    assert "is taken by run" in "".join(err for _, err in answers)
    board = open_board("digits-quick", root)
    assert len(board.records()) == 1 and not board.read()[1]


KILLS = {
    "before a record has its name": "os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
    "after the first record has its name": """
link = os.link
def once(*names):
    link(*names)
    os.kill(os.getpid(), signal.SIGKILL)
os.link = once
""",
    "between two records": """
write = store.write_new
def twice(file, text):
    if any(file.parent.glob("*.json")):
        os.kill(os.getpid(), signal.SIGKILL)
    write(file, text)
store.write_new = twice
""",
    "with the lock": "store.Board._chosen = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
}


@pytest.mark.parametrize("name", KILLS)
def test_add_that_was_killed_can_be_given_again(tmp_path, cli, name):
    root = tmp_path / "lb"
    (root / "digits-quick" / "runs").mkdir(parents=True)
    records = make_board(rates=(0.4,), seeds=1)
    folders = [saved(tmp_path / str(number), record) for number, record in enumerate(records)]
    process = start(root, KILLS[name], "add", *folders)
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    board = open_board("digits-quick", root)
    assert not board.read()[1]  # what is there by now is right
    code, out, err = cli("leaderboard", "add", *folders, "--root", root)
    assert code == 0, err
    assert sorted(file.name for file in board.runs.iterdir()) == sorted(f"{record.run_id}.json" for record in records)
    assert [file.name for file in board.folder.iterdir() if file.name != ".lock"] == ["runs"]


@pytest.mark.parametrize(
    "change",
    [
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)",
        """
replace = os.replace
def once(*names):
    replace(*names)
    os.kill(os.getpid(), signal.SIGKILL)
os.replace = once
""",
    ],
    ids=["before a page has its name", "between the pages"],
)
def test_build_that_was_killed_can_be_given_again(tmp_path, cli, board, change):
    board.add_records([(record, "x") for record in make_board(rates=(0.4,), seeds=1)])
    (board.folder / ".note.7.tmp").write_text("mine")
    (board.runs / ".note.json.7.tmp").write_text("mine")
    process = start(board.folder.parent, change, "build", "digits-quick")
    process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL
    assert cli("leaderboard", "build", "digits-quick", "--root", board.folder.parent)[0] == 0
    names = {file.name for file in board.folder.iterdir()}
    assert names == {".lock", ".note.7.tmp", "README.md", "index.html", "runs"}  # nobody else's file is removed
    assert (board.runs / ".note.json.7.tmp").exists()
    pages = [(board.folder / page).read_bytes() for page in PAGES]
    assert not any(build(board).pages.values())
    assert [(board.folder / page).read_bytes() for page in PAGES] == pages


def test_a_forger_cannot_file_under_another_runs_name(board):
    """The run id is that of the configuration, whatever the record says of itself."""
    other = make_record(seed=1)
    content = make_record().content() | {"run_id": other.run_id}
    with pytest.raises(UserError, match="run_id"):
        read_record(sealed(content), "x")
    text = with_config(make_record().content(), seed=1)
    assert read_record(text, "x").run_id == other.run_id
