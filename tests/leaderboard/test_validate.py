"""Records that a board must refuse, each with its reason."""

from __future__ import annotations

import json

import pytest
from records import make_board, make_record, sealed, with_config

from noisybench.core.errors import UserError
from noisybench.core.files import json_text
from noisybench.leaderboard.page_data import page_data
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.store import boards_in, fitting_board, open_board
from noisybench.leaderboard.validate import misfit, read_record
from noisybench.spec import registry
from noisybench.spec.cards import BenchmarkCard
from noisybench.spec.record import RunRecord


@pytest.fixture
def board(tmp_path):
    return open_board("digits-quick", tmp_path / "leaderboards")


def test_a_right_record_is_read_as_it_was_written(tmp_path):
    record = make_record("mslg", clean_labels=100, estimates_labels=True)
    record.save(tmp_path / "result.json")
    text = (tmp_path / "result.json").read_text()
    read = read_record(text, "x")
    assert read.content() == record.content() == json.loads(text)
    assert read == record
    assert RunRecord.load(tmp_path / "result.json") == read


def test_every_single_digit_counts():
    """Each digit of a record, raised by one, is found; also one below what a float can tell."""
    record = make_record(epochs=2)
    text = json_text(record.content())
    digits = [place for place, character in enumerate(text) if character.isdigit()]
    for place in digits:
        changed = text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :]
        with pytest.raises(UserError):
            read_record(changed, "x")
    assert len(digits) > 200
    exact = text.replace('"epochs": 2,', '"epochs": 2.0000000000000000001,')
    assert exact != text
    with pytest.raises(UserError):
        read_record(exact, "x")
    value = record.curves["test_accuracy"][0]
    for spelled in (f"{value}0", f"{value}00000000000000000001"):
        assert float(spelled) == value
        with pytest.raises(UserError, match="form"):
            read_record(text.replace(f"{value},", f"{spelled},"), "x")


def test_a_key_given_twice_is_refused():
    text = json_text(make_record().content())
    doubled = text.replace('  "git_commit"', '  "run_id": "0",\n  "git_commit"', 1)
    with pytest.raises(UserError):
        read_record(doubled, "x")


def edits():
    def set_metric(content, value):
        content["metrics"]["test_accuracy_last"] = value
        return sealed(content)

    def set_curve(content, value):
        content["curves"]["test_accuracy"][-1] = value
        for metrics in (content["metrics"], content["heads"]["network"]):
            metrics["test_accuracy_last"] = metrics["test_accuracy_oracle"] = value
            metrics["test_accuracy_last5"] = sum(content["curves"]["test_accuracy"][-5:]) / 5
        return sealed(content)

    def put(place, value):
        def edit(content):
            *parents, last = place.split(".")
            inner = content
            for parent in parents:
                inner = inner[parent]
            inner[last] = value
            return sealed(content)

        return edit

    return {
        "wrong run id": (put("run_id", "0" * 16), "run_id"),
        "path as run id": (put("run_id", "../../etc/x"), "run_id"),
        "newer schema": (put("schema_version", 3), "newer noisybench"),
        "no schema": (put("schema_version", None), "schema version"),
        "accuracy 1.7": (lambda c: set_curve(c, 1.7), "fraction"),
        "negative accuracy": (lambda c: set_curve(c, -0.1), "fraction"),
        "metric not from the curves": (lambda c: set_metric(c, 0.81), "curves give 0.8"),
        "metric left out": (lambda c: c["metrics"].pop("test_accuracy_oracle") and sealed(c), "test_accuracy_oracle"),
        "metric made up": (put("metrics.test_accuracy_best", 0.9), "test_accuracy_best"),
        "head without curves": (put("heads.ema", {}), "headline"),
        "head's metric": (put("heads.network.test_accuracy_last5", 0.9), "heads.network.test_accuracy_last5"),
        "curve cut": (lambda c: c["curves"]["loss"].pop() and sealed(c), "curves.loss has 39 values for 40"),
        "curve with a gap": (lambda c: c["curves"]["test_accuracy"].__setitem__(3, None) or sealed(c), "gaps"),
        "failed run": (put("status", "failed"), "failed"),
        "extra key": (put("note", "best run"), "note"),
        "text for a number": (put("cost.wall_seconds", "21.5"), "form"),
        "true for a number": (put("config.seed", True), "config.seed"),
        "method is a list": (put("config.method", ["ce"]), "config.method"),
        "noise rate above one": (put("noise.achieved_rate", 1.2), "noise.achieved_rate"),
        "negative time": (put("cost.train_seconds", -1.0), "cost.train_seconds"),
        "more clean labels than there are": (put("information_used.clean_labels", 101), "clean_labels"),
        "pretrained weights not declared": (lambda c: with_config(c, pretrained=True), "pretrained"),
        "no hash": (put("fingerprints.weights", None), "fingerprints.weights"),
    }


@pytest.mark.parametrize("name", edits())
def test_what_is_wrong_is_refused_with_its_reason(name):
    edit, reason = edits()[name]
    with pytest.raises(UserError, match=reason):
        read_record(edit(make_record(accuracy=0.8).content()), "x")


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_must_be_finite(word):
    text = json_text(make_record(accuracy=0.8).content()).replace(
        '"test_accuracy_last": 0.8', f'"test_accuracy_last": {word}'
    )
    with pytest.raises(UserError, match="not a record's JSON"):
        read_record(text, "x")


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '"\\ud800"', "null"])
def test_what_is_no_record_is_refused(text):
    with pytest.raises(UserError):
        read_record(text, "x")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"protocol": "authors"}, "protocol is 'authors'"),
        ({"ruleset": "blind"}, "ruleset"),
        ({"track": "fast"}, "track is 'fast'; the board wants 'standard'"),
        ({"epochs": 30}, "epochs is 30"),
        ({"model": "resnet18"}, "model"),
        ({"limit_train": 400}, "limit_train is 400; the board wants None"),
        ({"noise_seed": 3}, "noise_seed"),
        ({"meta_size": 200}, "meta_size is 200; the board wants 100"),
        ({"noise": "pair-flip"}, "no cell"),
        ({"noise_rate": 0.3}, "no cell"),
        ({"dataset": "cifar10"}, "no cell"),
    ],
)
def test_a_record_of_another_board_is_refused(board, tmp_path, changes, reason):
    arguments = {"noise_rate": 0.4} | changes
    record = make_record(**arguments)
    file = tmp_path / "result.json"
    record.save(file)
    with pytest.raises(UserError, match=reason):
        board.add([file])
    assert not board.runs.exists()


def test_overrides_are_wanted_too():
    card = BenchmarkCard(
        name="b", title="b", datasets=["digits"], noises=["symmetric"], noise_rates=[0.4], methods=["ce"],
        overrides={"optimizer": {"lr": 0.1}, "pretrained": False},
    )  # fmt: skip
    assert misfit(card, make_record()) == "optimizer.lr is 0.05; the board wants 0.1"


def test_duplicates_are_refused_and_nothing_is_half_filed(board, tmp_path):
    records = make_board(rates=(0.4,), seeds=2)
    for record in records:
        (tmp_path / record.run_id).mkdir()
        record.save(tmp_path / record.run_id / "result.json")
    folders = [tmp_path / record.run_id for record in records]
    board.add(folders[:3])
    misfit_record = make_record(noise_rate=0.3)
    (tmp_path / "misfit").mkdir()
    misfit_record.save(tmp_path / "misfit" / "result.json")
    with pytest.raises(UserError, match="no cell"):
        board.add([*folders[3:5], tmp_path / "misfit", folders[5]])
    again = records[0].model_copy(update={"cost": records[0].cost.model_copy(update={"train_seconds": 1.0})})
    with pytest.raises(UserError, match="on the board already, with other results"):
        board.add_records([(records[3], "x"), (again, "again")])
    assert [record.run_id for record in board.records()] == sorted(record.run_id for record in records[:3])
    kept = {file.name: file.read_bytes() for file in board.runs.iterdir()}
    added = board.add([*folders[2:], folders[5]])  # what is there already, or given twice, is nothing to do
    assert [record.run_id for record in added] == [record.run_id for record in records[3:]]
    assert len(board.records()) == len(records)
    assert all((board.runs / name).read_bytes() == content for name, content in kept.items())


def test_one_run_per_method_cell_and_seed(board):
    first = make_record(accuracy=0.8)
    again = make_record(accuracy=0.9, batch_size=32)
    other_seed = make_record(seed=1, batch_size=32)
    board.add_records([(first, "first")])
    with pytest.raises(UserError, match="taken by run " + first.run_id):
        board.add_records([(again, "again")])
    with pytest.raises(UserError, match="settings differ.*batch_size"):
        board.add_records([(other_seed, "other")])
    told = make_record(noise_prior=("noise_rate",), batch_size=32)
    board.add_records([(told, "told")])  # it knew more: a row of its own


def test_a_folder_is_checked_as_a_whole(board, cli, tmp_path):
    board.add_records([(record, "x") for record in make_board(rates=(0.4,), seeds=1)])
    assert cli("leaderboard", "validate", "--root", board.folder.parent)[0] == 0
    files = sorted(board.runs.iterdir())
    files[0].rename(board.runs / f"{'0' * 16}.json")
    files[1].write_text(files[1].read_text().replace('"seed": 0', '"seed": 1'))
    (board.runs / "notes.txt").write_text("x")
    code, out, err = cli("leaderboard", "validate", board.folder)
    assert code == 2
    assert "3 wrong" in out
    assert f"should be named {files[0].name}" in out
    assert f"{files[1]}: the content does not match its sha256" in out
    assert "notes.txt" in out
    assert "Traceback" not in err
    # The rest is shown, and what is left out is said.
    assert len(board.records()) == 4
    for command in ("show", "build"):
        code, out, err = cli("leaderboard", command, "digits-quick", "--root", board.folder.parent)
        assert code == 0 and err.count("left out: ") == 3 and f"should be named {files[0].name}" in err
    with pytest.raises(UserError, match="no board there"):
        boards_in(tmp_path / "nothing")


def test_the_board_is_found_from_the_record(tmp_path):
    assert fitting_board(make_record(), "x", tmp_path).card.name == "digits-quick"
    with pytest.raises(UserError, match="fits no board.*epochs is 3; the board wants 40"):
        fitting_board(make_record(epochs=3), "x", tmp_path)


def test_add_and_show_and_build_from_the_command_line(cli, tmp_path):
    root = tmp_path / "boards"
    folders = []
    for record in make_board(seeds=2):
        folders.append(tmp_path / record.run_id)
        folders[-1].mkdir()
        record.save(folders[-1] / "result.json")
    code, out, _ = cli("leaderboard", "add", *folders, "--root", root)
    assert (code, out.split()[0]) == (0, "36")
    code, out, _ = cli("leaderboard", "show", "digits-quick", "--root", root, "--rule", "oracle")
    assert code == 0
    assert "co-teaching" in out
    assert "oracle" in out
    code, out, _ = cli("leaderboard", "build", "digits-quick", "--root", root)
    assert out.count("written") == 2
    code, out, _ = cli("leaderboard", "build", "digits-quick", "--root", root)
    assert out.count("unchanged") == 2
    assert cli("leaderboard", "show", "cifar10n", "--root", root)[0] == 2
    assert cli("leaderboard", "show", "digits-quick", "--root", root, "--rule", "best")[0] == 2
    assert cli("leaderboard", "add", tmp_path / "none", "--root", root)[0] == 2


def shipped(**noise):
    """A record on Food-101N, of whose labels nobody knows how many are wrong."""
    splits = registry.dataset_card("food101n").splits.model_dump()
    changes = {"dataset": "food101n", "noise": "none", "model": "resnet50.tv_in1k", "pretrained": True, **splits}
    record = make_record(noise_rate=0.2, epochs=10, **changes)
    unknown = {"requested_rate": None, "achieved_rate": None, "achieved_rate_train_set": None}
    used = record.information_used.model_copy(update={"pretrained_weights": True})
    return record.model_copy(update={"noise": {**record.noise, **unknown, **noise}, "information_used": used})


def test_labels_as_shipped_have_no_known_rate_but_an_expected_one():
    card = registry.benchmark_card("food101n")
    record = shipped()
    assert read_record(json_text(record.content()), "x") == record
    assert misfit(card, record) is None
    told = record.model_copy(update={"config": {**record.config, "noise_rate": 0.5}})
    assert "expected of the labels is 0.2" in misfit(card, told)
    cell = page_data(Standings(card, [record]))["cells"][0]
    assert (cell["achieved"], cell["rate"]) == (None, None)
