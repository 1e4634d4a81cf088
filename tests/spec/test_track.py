"""The short track: whole boards of short runs, every phase with its share of the run."""

from __future__ import annotations

import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated

import pytest
from records import make_record

import noisybench
from noisybench import ResolvedConfig, RunConfig, resolve
from noisybench.bench.plan import Selection, plan
from noisybench.core.errors import UserError
from noisybench.leaderboard.cells import Cell, expand
from noisybench.leaderboard.markdown import board_markdown
from noisybench.leaderboard.page_data import page_data
from noisybench.leaderboard.published import claims_of
from noisybench.leaderboard.standings import Standings
from noisybench.leaderboard.store import fitting_board, open_board
from noisybench.leaderboard.validate import misfit
from noisybench.methods import Counts, Epochs, Settings, Steps
from noisybench.spec import registry
from noisybench.spec.cards import DatasetCard, MethodCard
from noisybench.spec.identity import run_id_of
from noisybench.spec.layers import recipe_conditions, resolve_dict
from noisybench.spec.schedule import learning_rate
from noisybench.spec.track import Length, scaled
from noisybench.train.progress import summary_table

METHODS = registry.method_names()
FAST = registry.dataset_card("cifar10").tracks["fast"]
RUNS = sorted((Path(__file__).parents[2] / "leaderboards" / "digits-quick" / "runs").glob("*.json"))


def fast(method: str = "ce", **given) -> ResolvedConfig:
    return resolve_dict({"method": method, "dataset": "cifar10", "track": "fast", **given})


def sixteen(method: str, **given) -> dict:
    """Settings of 16 epochs in batches of 256, whatever the card's table will say."""
    return fast(method, **{"epochs": 16, "batch_size": 256, **given}).settings


def counted(method: str, unit: str) -> list[str]:
    """The names of a method's settings that count epochs or steps."""
    fields = registry.load_method(method).Settings.model_fields
    return [name for name, field in fields.items() for part in field.metadata if getattr(part, "unit", None) == unit]


def test_there_are_all_the_methods():
    assert len(METHODS) >= 22


# Configurations.


@pytest.mark.parametrize("ruleset", ["paper", "blind"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_as_the_track_says(method, ruleset):
    config = fast(method, ruleset=ruleset)
    resolved = config.model_dump(mode="json")
    assert {name: resolved[name] for name in FAST if not isinstance(FAST[name], dict)} == {
        name: value for name, value in FAST.items() if not isinstance(value, dict)
    }
    # Nothing of the method's own optimizer and schedule: every field is the track's or its default.
    assert resolved["optimizer"] == {"backbone_lr_factor": 1.0, "layer_decay": None, **FAST["optimizer"]}
    defaults = {"steps": [], "start": 0, "period": 10, "floor": 0.0, "warmup": 0, "settings": {}}
    assert resolved["schedule"] == {**defaults, **FAST["schedule"]}
    assert resolve(RunConfig(**config.model_dump())) == config  # a fixed point: phases are scaled once


@pytest.mark.parametrize("method", METHODS)
def test_phases_lie_inside_the_run(method):
    standard, config = resolve(RunConfig(method=method, dataset="cifar10")), fast(method)
    for name in counted(method, "epochs"):
        value, before = config.settings[name], standard.settings[name]
        assert type(value) is type(before) or value == "never"
        if isinstance(value, int | float):
            assert min(before, 1) <= value < config.epochs
    rest = {*counted(method, "epochs"), *counted(method, "steps")}
    for name in set(config.settings) - rest:
        assert config.settings[name] == standard.settings[name]


# Settings that speak of epochs or steps without being a number of them.
NO_NUMBER = {"late_beta1", "meta_every", "iterations"}  # meta_every: one step in so many, whatever the run's length


@pytest.mark.parametrize("method", METHODS)
def test_a_setting_that_speaks_of_epochs_or_steps_says_what_it_counts(method):
    declared = {*counted(method, "epochs"), *counted(method, "steps")}
    for name, field in registry.load_method(method).Settings.model_fields.items():
        words = set(re.findall("[a-z]+", f"{name} {field.description or ''}"))
        if words & {"epoch", "epochs", "steps"} and name not in NO_NUMBER:
            assert name in declared, name


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_to_the_end(method, cifar_like, tmp_path, small_cifar10):
    """What a configuration alone does not show: an optimizer, precision or length that a method objects to."""
    # So few steps would end before a phase that starts by steps.
    small: dict = {"settings": dict.fromkeys(counted(method, "steps"), 0)}
    small |= {"model": "noisybench_cnn4", "image_size": 8, "meta_size": 30, "noisy_val_size": 10, "clean_val_size": 10}
    config = fast(
        method,
        dataset=small_cifar10,
        epochs=2,
        batch_size=70,
        data_path=cifar_like,
        output=tmp_path / "run",
        **small,
    )
    assert noisybench.run(config).status == "completed"


def test_shares_by_hand():
    assert resolve(RunConfig(method="mslg", dataset="cifar10")).settings["warmup_epochs"] == 44
    assert sixteen("mslg")["warmup_epochs"] == 6  # 44 · 16/120 = 5.87
    assert sixteen("metalabelnet")["warmup_epochs"] == 6
    assert sixteen("finetune")["finetune_epochs"] == 5  # 39 · 16/120 = 5.2
    assert sixteen("forward")["estimation_epochs"] == 8  # 120 · 16/240
    pencil = sixteen("pencil")  # of 320
    assert (pencil["warmup_epochs"], pencil["freeze_epoch"]) == (4, 10)  # 3.5, 10
    joint = sixteen("joint")  # of 320: 10, 3.5, 0.5
    assert (joint["first_stage_epochs"], joint["label_start"], joint["window"]) == (10, 4, 1)


def test_co_teaching_by_hand():
    settings = sixteen("co-teaching")
    # 10 · 16/200 = 0.8; of a ramp of one epoch nothing would be left: its first epoch is its last.
    assert settings["ramp_epochs"] == 2
    assert settings["beta1_switch_epoch"] == "never"  # the recipe "cifar10:fast": there is no beta1 in SGD
    assert resolve(RunConfig(method="co-teaching", dataset="cifar10")).settings["beta1_switch_epoch"] == 80
    plus = sixteen("co-teaching-plus")
    # 20 · 16/200 = 1.6 epochs; 5000 steps · (16 · 128) / (200 · 256) = 200
    assert (plus["init_epochs"], plus["agreement_steps"]) == (2, 200)


def test_mlnt_by_hand():
    settings = sixteen("mlnt")
    assert settings["warmup_epochs"] == 8  # 120 · 16/240
    # A thirtieth of the steps: a fifteenth of the epochs, in batches twice as large.
    assert (settings["start_step"], settings["ramp_steps"]) == (17, 50)  # 16.7, 50
    half = sixteen("mlnt", batch_size=128)
    assert (half["warmup_epochs"], half["start_step"], half["ramp_steps"]) == (8, 33, 100)  # a fifteenth of the steps


def test_what_is_given_wins():
    given = fast("mslg", settings={"warmup_epochs": 44}, optimizer={"lr": 0.1}, schedule={"warmup": 1})
    assert given.settings["warmup_epochs"] == 44 and given.settings["kappa"] == 1.5625
    assert given.optimizer.lr == 0.1 and given.optimizer.momentum == FAST["optimizer"]["momentum"]
    assert given.schedule.warmup == 1 and given.schedule.name == FAST["schedule"]["name"]
    # The share is of the run as it is: 44 · 30/120.
    assert fast("mslg", epochs=30).settings["warmup_epochs"] == 11
    assert fast("mslg", epochs="30").settings["warmup_epochs"] == 11
    assert fast("mslg", epochs=1).settings["warmup_epochs"] == 1


def test_a_recipe_of_the_track_is_taken_as_it_is(monkeypatch):
    card = registry.method_card("mslg")
    recipes = {**card.recipes, "cifar10:fast": {"settings": {"warmup_epochs": 9}}}
    changed = card.model_copy(update={"recipes": recipes})
    monkeypatch.setattr(registry, "method_card", lambda name: changed)
    config = fast("mslg")
    assert config.settings["warmup_epochs"] == 9 and config.optimizer.lr == FAST["optimizer"]["lr"]
    assert resolve(RunConfig(method="mslg", dataset="cifar10")).settings["warmup_epochs"] == 44
    assert fast("mslg", settings={"warmup_epochs": 3}).settings["warmup_epochs"] == 3


def test_a_dataset_has_the_tracks_of_its_base():
    config = resolve_dict({"method": "co-teaching", "dataset": "cifar10n", "track": "fast", "noise": "symmetric"})
    assert config.epochs == FAST["epochs"] and config.settings["beta1_switch_epoch"] == "never"


def test_what_counts_is_scaled_and_nothing_else():
    class Made(Settings):
        epochs: Epochs = 20
        steps: Steps = 1000
        at: Annotated[list[int], Counts("epochs")] = [0, 10, 30]
        pair: Annotated[int, Counts("epochs", least=2)] = 10
        share: Annotated[float | None, Counts("epochs")] = None
        other: int = 20

    shares = Length(epochs=10, batch_size=50).share_of(Length(epochs=100, batch_size=100))
    assert shares == {"epochs": Fraction(1, 10), "steps": Fraction(1, 5)}
    default = {"epochs": 2, "steps": 200, "at": [0, 1, 3], "pair": 2, "share": None}
    assert scaled(Made, {}, shares) == default
    assert scaled(Made, {"epochs": 0, "pair": 1, "other": 5}, shares) == default | {"epochs": 0, "pair": 1}
    assert scaled(Made, {"epochs": 4, "share": 16.0}, shares) == default | {"epochs": 1, "share": 2}


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--dataset", "digits"], "track 'fast': dataset 'digits' has none; it is for cifar10, cifar10n"),
        (["--dataset", "cifar10", "--track", "fats"], "unknown track 'fats': did you mean fast?"),
        (["--dataset", "cifar10", "--protocol", "authors"], "track 'fast' with protocol 'authors', which is for"),
        (["--dataset", "cifar10", "--epochs", "0"], "epochs: input should be greater than or equal to 1, not 0"),
        (["--dataset", "cifar10", "--method", "mlst"], "unknown method 'mlst'"),
    ],
)
def test_what_does_not_fit_is_one_line(cli, arguments, line):
    code, out, err = cli("run", "--track", "fast", *arguments, "--dry-run")
    assert code == 2 and out == "" and err.startswith(f"noisybench: {line}") and err.count("\n") == 1, err


def test_a_dry_run_prints_the_track(cli):
    code, out, _ = cli(
        "run", "--dataset", "cifar10", "--track", "fast", "--method", "mslg", "--epochs", 16, "--dry-run"
    )
    resolved = json.loads(out)
    assert code == 0 and resolved["track"] == "fast" and resolved["settings"]["warmup_epochs"] == 6
    assert json.loads(cli("run", "--dry-run")[1])["track"] == "standard"


def test_cards_say_what_they_may():
    card = registry.dataset_card("cifar10").model_dump(exclude_unset=True)
    for change, reason in [
        ({"tracks": {"standard": {"epochs": 1}}}, "tracks.standard"),
        ({"tracks": {"fast": {"settings": {"warmup_epochs": 1}}}}, "hold no method's settings"),
        ({"defaults": {"epochs": 3}}, "need defaults with epochs and batch_size"),
    ]:
        with pytest.raises(ValueError, match=reason):
            DatasetCard.model_validate(card | change)
    method = registry.method_card("jocor").model_dump(exclude_unset=True)
    assert MethodCard.model_validate(method | {"recipes": {"cifar10:fast": {"settings": {}}}})
    with pytest.raises(ValueError, match=r"recipe 'cifar10:fast' holds model, optimizer: a track trains all"):
        MethodCard.model_validate(method | {"recipes": {"cifar10:fast": {"optimizer": {"lr": 1}, "model": "resnet18"}}})
    assert recipe_conditions("default") == {}
    assert recipe_conditions("cifar10") == {"dataset": "cifar10"}
    assert recipe_conditions("cifar10:authors") == {"dataset": "cifar10", "protocol": "authors"}
    assert recipe_conditions("cifar10:fast") == {"dataset": "cifar10", "track": "fast"}
    assert isinstance(registry.method_card("jocor"), MethodCard)


# The schedule.


def test_triangular_by_hand():
    schedule = resolve(RunConfig()).schedule.model_copy(update={"name": "triangular", "warmup": 3})

    def rates(epochs, warmup):
        shape = schedule.model_copy(update={"warmup": warmup})
        return [learning_rate(0.4, shape, epoch, epochs) for epoch in range(epochs)]

    assert rates(8, 3) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.32, 0.24, 0.16, 0.08])
    assert rates(4, 0) == pytest.approx([0.4, 0.3, 0.2, 0.1])
    assert rates(2, 3) == pytest.approx([0.1, 0.2])  # ends on the way up


# Run ids.


def test_the_filed_runs_keep_their_ids():
    """As stored, and as the cards and defaults of today make them."""
    assert len(RUNS) == 18
    stored = [json.loads(file.read_text())["config"] for file in RUNS]
    assert [run_id_of(config) for config in stored] == [file.stem for file in RUNS]
    assert not {"track", "mixed_precision"} & stored[0].keys()
    fresh = [resolve_dict(run) for run in expand(registry.benchmark_card("digits-quick"))]
    assert sorted(config.run_id for config in fresh) == [file.stem for file in RUNS]
    assert sorted(run_id_of(config.model_dump(mode="json")) for config in fresh) == [file.stem for file in RUNS]


def test_the_standard_track_is_no_part_of_a_run_id():
    plain = resolve(RunConfig())
    assert "track" not in plain.science() and "warmup" not in plain.science()["schedule"]
    assert resolve(RunConfig(track="standard", schedule={"warmup": 0})).run_id == plain.run_id
    assert resolve(RunConfig(schedule={"warmup": 2})).run_id != plain.run_id
    config = fast()
    schedule = config.schedule.model_dump(mode="json", exclude={"settings"})  # empty: no part of a run id either
    assert config.science()["track"] == "fast" and config.science()["schedule"] == schedule
    # The same training under another name is another run: it belongs on another board.
    renamed = config.model_dump() | {"track": "standard"}
    assert resolve(RunConfig(**renamed)).run_id != config.run_id


# Boards.

SIZES = {"meta_size": 4000, "noisy_val_size": 500, "clean_val_size": 500}


def record(track: str | None, **changes):
    """A record of CIFAR-10; without a track, of before there were tracks."""
    trained = fast().model_dump(mode="json")
    given = {"dataset": "cifar10", "model": "noisybench_cnn8", "epochs": FAST["epochs"], **SIZES}
    given |= {name: trained[name] for name in FAST} if track == "fast" else {}
    return make_record(**given | changes, **({} if track is None else {"track": track}))


@pytest.mark.parametrize(
    "changes, told",
    [
        ({"epochs": FAST["epochs"] + 1}, f"epochs is {FAST['epochs'] + 1}; the board wants {FAST['epochs']}"),
        ({"model": "resnet18"}, f"model is 'resnet18'; the board wants '{FAST['model']}'"),
        ({"batch_size": 8}, f"batch_size is 8; the board wants {FAST['batch_size']}"),
        ({"mixed_precision": "no"}, "mixed_precision is 'no'; the board wants 'bf16'"),
        ({"channels_last": False}, "channels_last is False; the board wants True"),
        ({"optimizer": {"lr": 0.123}}, f"optimizer.lr is 0.123; the board wants {FAST['optimizer']['lr']}"),
        # Not in the table: it is what the field is by default.
        ({"schedule": {"floor": 0.01}}, "schedule.floor is 0.01; the board wants 0.0"),
    ],
)
def test_a_short_tracks_board_wants_its_whole_recipe(changes, told):
    card = registry.benchmark_card("cifar10-fast")
    changed = {
        name: {**record("fast").config[name], **value} if isinstance(value, dict) else value
        for name, value in changes.items()
    }
    assert misfit(card, record("fast")) is None and misfit(card, record("fast", settings={"kappa": 3.0})) is None
    assert misfit(card, record("fast", **changed)) == told
    if "optimizer" in changes:  # what the board itself changes
        assert misfit(card.model_copy(update={"overrides": changes}), record("fast", **changed)) is None


def test_a_board_takes_only_records_of_its_track(tmp_path, cli):
    short, standard = registry.benchmark_card("cifar10-fast"), registry.benchmark_card("mslg-cifar10")
    assert (short.track, standard.track) == ("fast", "standard")
    assert misfit(short, record("fast")) is None
    assert (
        misfit(short, record("standard"))
        == misfit(short, record(None))
        == ("track is 'standard'; the board wants 'fast'")
    )
    assert misfit(standard, record("standard")) is None and misfit(standard, record(None)) is None
    assert misfit(standard, record("fast")) == "track is 'fast'; the board wants 'standard'"
    assert misfit(standard, record(["fast"])) == "track is ['fast']; the board wants 'standard'"
    assert fitting_board(record("fast"), "x", tmp_path).card.name == "cifar10-fast"
    assert fitting_board(record(None), "x", tmp_path).card.name == "mslg-cifar10"
    file = tmp_path / "result.json"
    record(None).save(file)
    code, _, err = cli("leaderboard", "add", file, "--board", "cifar10-fast", "--root", tmp_path)
    assert code == 2 and "track is 'standard'; the board wants 'fast'" in err
    assert cli("leaderboard", "add", file, "--board", "mslg-cifar10", "--root", tmp_path)[0] == 0


def test_records_with_and_without_the_later_fields_share_a_row(tmp_path):
    board = open_board("mslg-cifar10", tmp_path)
    later = {"mixed_precision": "no", "channels_last": False}
    board.add_records([(record(None, seed=0), "old"), (record("standard", seed=1, **later), "new")])
    with pytest.raises(UserError, match="settings differ.*channels_last"):
        board.add_records([(record("standard", seed=2, **later | {"channels_last": True}), "other")])


def test_a_board_says_its_track(tmp_path):
    for name, of, track in [("cifar10-fast", "fast", "fast"), ("mslg-cifar10", None, "standard")]:
        standings = Standings(registry.benchmark_card(name), [record(of)])
        assert f"Protocol sealed, ruleset paper, track {track}." in board_markdown(standings)
        data = page_data(standings)
        assert data["board"]["track"] == track and data["bases"][0]["track"] == track  # the page, and a run's detail
        assert data["bases"][0]["mixed_precision"] == ("bf16" if of else "no")


def test_published_numbers_are_not_beside_those_of_a_short_track():
    cell = Cell("cifar10", "symmetric", 0.8)
    assert claims_of(registry.benchmark_card("mslg-cifar10"), "mslg")[cell].accuracy == 0.5626
    assert claims_of(registry.benchmark_card("cifar10-fast"), "mslg") == {}


def test_the_fast_suite_is_the_whole_grid(tmp_path):
    card = registry.benchmark_card("cifar10-fast")
    assert sorted(card.methods) == METHODS
    predictions = tmp_path / "predictions.npz"
    predictions.write_bytes(b"named, not read")
    suite = plan(card, tmp_path / "runs", None, Selection(seeds=1), noise_files={"feature-dependent": predictions})
    assert len(suite.runs) == len(METHODS) * 2 * 4
    assert {(run.config.track, run.config.epochs, run.config.model) for run in suite.runs} == {
        ("fast", FAST["epochs"], FAST["model"])
    }
    alone = fast("mslg", noise="symmetric", noise_rate=0.2)
    assert alone.run_id in {run.run_id for run in suite.runs}


def test_whoever_shows_a_run_says_its_track(cli, tmp_path):
    assert summary_table(record("fast")).title.startswith("ce on cifar10, fast track, run ")
    assert summary_table(record(None)).title == summary_table(record("standard")).title.replace(
        record("standard").run_id, record(None).run_id
    )
    paths = []
    for number, of in enumerate(["fast", None]):
        paths.append(tmp_path / f"{number}.json")
        record(of).save(paths[-1])
    lines = cli("compare", *paths)[1].splitlines()
    (line,) = [line for line in lines if "track" in line]
    assert "fast" in line and "standard" in line
