"""One record that is wrong, however badly, is refused by itself with its reason; the board goes on."""

from __future__ import annotations

import json
import os

import pytest
from records import make_board, make_record, sealed, with_config

from noisybench.core.errors import UserError
from noisybench.core.files import json_text
from noisybench.leaderboard.store import open_board
from noisybench.leaderboard.validate import read_record
from noisybench.spec.record import MAX_BYTES, RunRecord

PLAIN = make_record(seed=9).content()


def config(**changes):
    return lambda content: with_config(content, **changes)


def nested(depth: int):
    value: object = 1
    for _ in range(depth):
        value = {"a": value}
    return value


def put(value, *place):
    def edit(content):
        *parents, last = place
        inner = content
        for parent in parents:
            inner = inner[parent]
        inner[last] = value
        return sealed(content)

    return edit


def head_named(name: str):
    def edit(content):
        content["heads"] = {name: content["heads"]["network"]}
        return sealed(content)

    return edit


def added_curve(name: str, value: float = 0.5):
    return put([value] * 40, "curves", name)


RECORDS = {
    # Names: what cannot be seen, what looks like another, what leads elsewhere.
    "empty": (config(method=""), r"config.method, '', is empty"),
    "zero width": (config(method="ce\u200b"), r"config.method, 'ce\u200b', holds '\u200b' (ZERO WIDTH SPACE)"),
    "Cyrillic": (config(method="\u0441e"), r"holds '\u0441' (CYRILLIC SMALL LETTER ES)"),
    "escape": (config(method="ce\x1b[2J"), r"holds '\x1b'"),
    "newline": (config(method="ce\n# h"), r"holds '\n'"),
    "right to left": (config(method="\u202eec"), "RIGHT-TO-LEFT OVERRIDE"),
    "surrogate": (config(method="ce\udcff"), r"holds '\udcff'"),
    "markup": (config(method="<b>ce</b>"), "holds '<'"),
    "very long": (config(method="c" * 10_000), "has 10000 characters"),
    "way up": (config(method="../../x"), "'../../x', begins or ends with '.'"),
    "dataset": (config(dataset="digits\u200b"), r"config.dataset, 'digits\u200b', holds"),
    "noise": (config(noise="symmetri\u0441"), "CYRILLIC SMALL LETTER ES"),
    "model": (config(model="noisybench_cnn4\u00ad"), r"'\xad'"),
    "kind of the noise": (put("sym\nmetric", "noise", "kind"), r"noise.kind, 'sym\nmetric', holds"),
    "head": (head_named("net\u200bwork"), r"the name 'net\u200bwork' in heads holds"),
    "curve": (added_curve("loss\x1b"), r"the name 'loss\x1b' in curves holds"),
    "log": (added_curve("method/l\u043ess"), "CYRILLIC SMALL LETTER O"),
    "setting": (config(settings={"a\u202e": 1}), r"the name 'a\u202e' in config.settings holds"),
    "text in a setting": (config(settings={"a": ["x", "b\x1b[2J"]}), r"config.settings.a, 'b\x1b[2J', holds '\x1b'"),
    "rule": (put("x\u2028y", "noise", "rule"), r"holds '\u2028', which cannot be seen"),
    "device": (put("cpu\x1b[2J", "cost", "device"), r"holds '\x1b'"),
    "commit": (put("<a>", "git_commit"), "git_commit, '<a>', holds"),
    "long text": (put("x" * 2001, "noise", "rule"), "has 2,001 characters"),
    # Numbers and nesting.
    "huge seed": (config(seed=10**400), "has 401 digits"),
    "huge rate": (config(noise_rate=10**400), "has 401 digits"),
    "huge memory": (put(10**300, "cost", "peak_memory_bytes"), "has 301 digits"),
    "huge cost": (put(1e300, "cost", "train_seconds"), "cost.train_seconds is 1e+300"),
    "huge setting": (config(settings={"a": 2**63}), "9223372036854775807"),
    "deep settings": (config(settings=nested(300)), "nested more than 20 deep"),
    "deep lists": (lambda c: sealed(c).replace('"settings": {}', '"settings": ' + "[" * 5000 + "]" * 5000), "deep"),
    "negative seed": (config(seed=-1), "config.seed is wrong: input should be greater than or equal to 0"),
    "negative noise seed": (config(noise_seed=-3), "config.noise_seed is wrong"),
    "no epochs": (config(epochs=0), "config.epochs is wrong"),
    "rate of one": (config(noise_rate=1.0), "config.noise_rate is wrong"),
    "epochs true": (config(epochs=True), "config.epochs is wrong"),
    # Settings that no run has.
    "unknown key": (config(colour="red"), "config.colour is no setting of a run that this release knows"),
    "unknown key inside": (
        config(optimizer={**PLAIN["config"]["optimizer"], "beta": 1}),
        "config.optimizer.beta is no setting",
    ),
    "no schedule": (config(schedule={"name": 3}), "config.schedule.name is wrong: input should be a valid string"),
    "unknown optimizer": (config(optimizer={"name": "sgdm"}), "config.optimizer.name is wrong"),
    "no learning rate": (config(optimizer={"lr": 0}), "config.optimizer.lr is wrong"),
    "no table": (config(augment=[1]), "config.augment is wrong"),
    "unknown protocol": (config(protocol="open"), "config.protocol is wrong"),
    "text as settings": (config(settings="none"), "config.settings is wrong"),
    "no model": (lambda c: c["config"].pop("model") and with_config(c), "config.model is missing"),
    # Curves that are nobody's.
    "a log among the metrics": (added_curve("meta_loss"), "curves.meta_loss is no metric of the benchmark"),
    "an accuracy of one's own": (added_curve("my_accuracy", 1.7), "curves.my_accuracy is no metric of the benchmark"),
    "the epoch as a curve": (added_curve("epoch", 1.0), "curves.epoch is no metric of the benchmark"),
    "a head that is not there": (added_curve("test_accuracy/best"), "of a head that the record does not have"),
    "label metric out of range": (added_curve("label_accuracy_given", 1.5), "curves.label_accuracy_given is 1.5"),
    "metric without its curve": (put(1.0, "metrics", "noise_detection_auroc"), "noise_detection_auroc"),
    "metric that is not its curve's": (
        lambda c: added_curve("noise_detection_auroc")(c) and put(1.0, "metrics", "noise_detection_auroc")(c),
        "metrics.noise_detection_auroc is 1.0, but the curves give 0.5",
    ),
    "negative learning rate": (added_curve("learning_rate", -1.0), "it is at least 0"),
    # What was known, and what it took.
    "negative clean labels": (put(-1, "information_used", "clean_labels_for_selection"), "is -1; clean_val_size is"),
    "negative trials": (put(-1, "information_used", "tuning_trials"), "tuning_trials is -1"),
    "told twice": (put(["noise_rate"] * 2, "information_used", "noise_prior"), "names something twice"),
    "rate is a list": (put([0.4], "noise", "achieved_rate"), "noise.achieved_rate is neither text nor number"),
    # JSON itself.
    "key given twice": (lambda c: sealed(c).replace('{\n', '{\n  "run_id": "0",\n', 1), "'run_id' is given twice"),
    "lone surrogate as key": (put(1, "versions", "\ud800"), r"versions"),
}  # fmt: skip


def edited(name: str) -> str:
    edit, _ = RECORDS[name]
    return edit(json.loads(json_text(PLAIN)))


@pytest.mark.parametrize("name", RECORDS)
def test_each_is_refused_with_its_reason_in_plain_characters(name):
    with pytest.raises(UserError) as refused:
        read_record(edited(name), "x")
    line = str(refused.value)
    assert line.isprintable() and set(line).isdisjoint("\u0441\u043e") and len(line) < 1500
    assert RECORDS[name][1] in line


@pytest.fixture
def board(tmp_path):
    """A board of six right records."""
    board = open_board("digits-quick", tmp_path / "leaderboards")
    board.add_records([(record, "x") for record in make_board(rates=(0.4,), seeds=1)])
    return board


def hostile_files(runs, tmp_path) -> dict[str, str]:
    """Fill a board's folder of records with files that are none; each one's reason by its name."""
    reasons = {}
    for number, name in enumerate(RECORDS):
        (runs / f"{number:016x}.json").write_text(edited(name))
        reasons[f"{number:016x}.json"] = RECORDS[name][1]
    os.mkfifo(runs / "a-pipe.json")
    (runs / "a-folder.json").mkdir()
    with open(tmp_path / "endless", "wb") as stream:
        stream.truncate(2**42)
    (runs / "a-link-to-much.json").symlink_to(tmp_path / "endless")
    os.mkfifo(tmp_path / "pipe")
    (runs / "a-link-to-a-pipe.json").symlink_to(tmp_path / "pipe")
    (runs / "a-link-to-nothing.json").symlink_to(tmp_path / "nothing")
    with open(runs / "too-large.json", "wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    (runs / "zeros.json").write_bytes(bytes(1000))
    (runs / "no-text.json").write_bytes(b"\xff\xfe{}")
    (runs / "empty.json").write_bytes(b"")
    (runs / "brackets.json").write_text("[" * 200_000)
    (runs / "digits.json").write_text('{"schema_version": ' + "1" * 100_000 + "}")
    (runs / "name\x1b[2J\u202e.json").write_text("{}")
    (runs / os.fsdecode(b"\xff.json")).write_text("{}")
    (runs / ".hidden").write_text("x")
    return reasons | {
        "a-pipe.json": "no regular file",
        "a-folder.json": "no regular file",
        "a-link-to-much.json": "a link",
        "a-link-to-a-pipe.json": "a link",
        "a-link-to-nothing.json": "a link",
        "too-large.json": f"{MAX_BYTES + 1:,} bytes",
        "zeros.json": "not a record's JSON",
        "no-text.json": "not readable as text",
        "empty.json": "not a record's JSON",
        "brackets.json": "not a record's JSON",
        "digits.json": "not a record's JSON",
        "name\\x1b[2J\\u202e.json": "schema version None",
        "\\udcff.json": "schema version None",
        ".hidden": "no record",
    }


def test_the_board_goes_on_without_them(board, cli, tmp_path):
    pages = {}
    cli("leaderboard", "build", "digits-quick", "--root", board.folder.parent)
    for name in ("README.md", "index.html"):
        pages[name] = (board.folder / name).read_bytes()
    reasons = hostile_files(board.runs, tmp_path)
    code, out, err = cli("leaderboard", "validate", "--root", board.folder.parent)
    assert code == 2 and err == f"noisybench: {len(reasons)} records refused\n"
    lines = out.splitlines()
    assert lines[-1] == f"{board.folder}: 6 records right, {len(reasons)} wrong"
    assert len(lines) == len(reasons) + 1 and out.replace("\n", "").isprintable()
    for name, reason in reasons.items():
        (line,) = [line for line in lines if line.startswith(f"{board.runs}/{name}: ")]
        assert reason in line
    for command in ("show", "build", "build"):
        code, out, err = cli("leaderboard", command, "digits-quick", "--root", board.folder.parent)
        assert code == 0 and err.count("left out: ") == len(reasons) == err.count("\n")
        assert err.replace("\n", "").isprintable()
    assert {name: (board.folder / name).read_bytes() for name in pages} == pages
    record = make_record("sce")
    (tmp_path / "run").mkdir()
    record.save(tmp_path / "run" / "result.json")
    code, out, _ = cli("leaderboard", "add", tmp_path / "run", "--root", board.folder.parent)
    assert code == 0 and out.startswith("1 filed")
    assert len(board.records()) == 7


@pytest.mark.parametrize("name", ["pipe", "much", "no-text", "none"])
def test_a_run_to_be_filed_is_a_regular_file_of_a_records_size(board, cli, tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    if name == "pipe":
        os.mkfifo(folder / "result.json")
    elif name == "much":
        with open(tmp_path / "much", "wb") as stream:
            stream.truncate(2**42)
        (folder / "result.json").symlink_to(tmp_path / "much")
    elif name == "no-text":
        (folder / "result.json").write_bytes(b"\xff")
    for command in (("leaderboard", "add", folder, "--root", board.folder.parent), ("compare", folder, folder)):
        code, _, err = cli(*command)
        assert code == 2 and err.count("\n") == 1 and str(folder) in err
    assert len(board.records()) == 6


@pytest.mark.parametrize(
    "name", ["escape", "deep settings", "huge seed", "no model", "text as settings", "no schedule", "empty"]
)
def test_compare_takes_no_such_configuration_or_prints_it_plainly(cli, tmp_path, name):
    (tmp_path / "a.json").write_text(edited(name))
    make_record().save(tmp_path / "b.json")
    code, out, err = cli("compare", tmp_path / "a.json", tmp_path / "b.json")
    assert (code, err.count("\n")) in ((2, 1), (0, 0))
    assert out.replace("\n", "").isprintable() and err.replace("\n", "").isprintable()


def test_a_folder_that_is_no_board_is_named_and_the_others_are_checked(board, cli):
    for name in ("no-card", "odd\x1b[2J"):
        (board.folder.parent / name / "runs").mkdir(parents=True)
    code, out, err = cli("leaderboard", "validate", "--root", board.folder.parent)
    assert code == 2 and "0 records refused, 2 of the folders no board" in err
    assert f"{board.folder}: 6 records right, 0 wrong" in out
    assert f"{board.folder.parent}/no-card: unknown benchmark 'no-card'" in out and "\x1b" not in out


OLD = {"schema_version": 1}


def test_records_from_before_logs_had_a_namespace_are_taken(cli, tmp_path):
    """By their schema: a curve of such a record that is no metric is a log, whatever it is called."""
    record = make_record("mslg", clean_labels=100, estimates_labels=True)
    curves = {**record.curves, "meta_loss": [2.5] * 40, "my_accuracy": [1.75] * 40, "kept %": [0.5] * 40}
    old = RunRecord(**{**record.model_dump(), **OLD, "curves": curves})
    old.save(tmp_path / "result.json")
    assert read_record((tmp_path / "result.json").read_text(), "x") == old
    assert cli("leaderboard", "add", tmp_path / "result.json", "--root", tmp_path / "lb")[0] == 0
    assert cli("leaderboard", "validate", "--root", tmp_path / "lb")[0] == 0
    code, out, _ = cli("leaderboard", "show", "digits-quick", "--root", tmp_path / "lb")
    assert code == 0 and "mslg" in out
    for name, value, reason in (
        ("test_accuracy", 1.7, "a fraction lies in"),
        ("a\x1b", 0.5, r"the name 'a\x1b' in curves holds"),
    ):
        wrong = RunRecord(**{**old.model_dump(), "curves": {**curves, name: [value] * 40}})
        with pytest.raises(UserError) as refused:
            read_record(json_text(wrong.content()), "x")
        assert reason in str(refused.value)
    new = RunRecord(**{**old.model_dump(), "schema_version": 2})
    with pytest.raises(UserError, match="is no metric of the benchmark|holds ' '"):
        read_record(json_text(new.content()), "x")
