"""What may be tuned: ranges on cards, the spaces made of them, and how many trials a run rests on."""

from __future__ import annotations

import shutil

import pytest

from noisybench.core.errors import UserError
from noisybench.spec import registry
from noisybench.spec.cards import MethodCard
from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve
from noisybench.spec.tuned import tuning_trials
from noisybench.spec.tuning import Range, Space, spaces, values_given


@pytest.mark.parametrize(
    "line, words",
    [
        ('"optimizer.rate" = { low = 0.1, high = 1.0 }', "unknown setting to tune 'optimizer.rate'"),
        ('"optimiser.lr" = { low = 0.1, high = 1.0 }', "'optimiser.lr' cannot be tuned: only optimizer.NAME"),
        ('"seed" = { choices = [1, 2] }', "'seed' cannot be tuned"),
        ('"augment.crop_padding" = { low = 0, high = 4, step = 1 }', "'augment.crop_padding' cannot be tuned"),
        ('"optimizer.lr" = { lo = 0.1, high = 1.0 }', "tune.optimizer.lr.lo: Extra inputs are not permitted"),
        ('"optimizer.lr" = { low = 1.0, high = 0.1 }', "low 1 must be smaller than high 0.1"),
        ('"optimizer.lr" = { low = 0.0, high = 0.1, log = true }', "log is for ranges above 0"),
        ('"optimizer.lr" = { low = 0.1 }', "give low and high, or choices"),
        ('"settings.beta" = { choices = [1.0] }', "choices must be two or more"),
        ('"settings.beta" = { choices = [1, 2], low = 1.0 }', "choices stand alone"),
        ('"settings.beta" = { low = 0.5, high = 4, step = 1 }', "step is for whole numbers"),
        ('"settings.beta" = { low = 0.5, high = 4.0, share = true }', "share is a part of the run's epochs"),
    ],
)
def test_a_bad_range_is_refused_when_its_card_is_read(tmp_path, line, words):
    (tmp_path / "m.toml").write_text(f'title = "M"\n[tune]\n{line}\n')
    with pytest.raises(UserError) as refused:
        registry.parse_card(tmp_path / "m.toml", MethodCard)
    assert words in str(refused.value) and "\n" not in str(refused.value)


def test_a_range_of_a_setting_that_the_method_has_not_is_refused(tmp_path, monkeypatch):
    copy = tmp_path / "registry"
    shutil.copytree(registry.builtin_cards(), copy)
    file = copy / "methods" / "gce.toml"
    file.write_text(file.read_text().replace('"settings.q"', '"settings.treshold"'))
    text = (copy / "methods" / "gce.toml").read_text()
    (copy / "methods" / "gce.toml").write_text(
        text.replace('[tune]\n"settings.q" = { low = 0.1, high = 1.0 }\n', "", 1)
    )
    monkeypatch.setattr(registry, "builtin_cards", lambda: copy)
    registry.forget()
    try:
        with pytest.raises(UserError, match=r"'gce': tune: unknown setting to tune 'settings.treshold': did you mean "):
            registry.method_card("gce")
    finally:
        monkeypatch.undo()
        registry.forget()


def test_tuned_names_a_recipe_that_there_is(tmp_path):
    (tmp_path / "m.toml").write_text(
        'title = "M"\n[tuned.digits]\ntrials = 3\nseeds = [100]\njudge = "noisy-val"\nnoise = "symmetric"\n'
    )
    with pytest.raises(UserError, match="tuned names the recipe 'digits', which the card has not"):
        registry.parse_card(tmp_path / "m.toml", MethodCard)


def config(**given):
    return resolve(RunConfig(**{"method": "mslg", "dataset": "digits", **given}))


def test_every_card_states_ranges_that_hold_its_recipes():
    for name in registry.card_names("methods"):
        for given in ({}, {"frozen": True}, {"dataset": "cifar10", "frozen": True}):
            found = spaces(registry.method_card(name).tune, config(method=name, **given))
            assert "optimizer.lr" in found
            for key, space in found.items():
                if space.choices is None:
                    assert space.low <= space.recipe <= space.high, (name, key)
                else:
                    assert space.choices[0] == space.recipe, (name, key)


@pytest.mark.parametrize(
    "recipe, of, expected",
    [
        (10.0, Range(low=0.3, high=30, log=True), Space(10.0, 0.3, 30, log=True)),
        (40.0, Range(low=0.3, high=30, log=True), Space(40.0, 0.3, 40, log=True)),
        (0.0, Range(low=0.3, high=30, log=True), Space(0.0, 0, 30, log=False)),  # no logarithm of 0
    ],
)
def test_a_range_holds_the_recipes_value(recipe, of, expected):
    found = spaces({"settings.kappa": of}, config(settings={"kappa": recipe}))["settings.kappa"]
    assert found == expected


@pytest.mark.parametrize(
    "recipe, of, low, high",
    [
        (5, {"low": 0.05, "high": 0.5, "share": True}, 2, 20),  # of 40 epochs
        (30, {"low": 0.05, "high": 0.5, "share": True}, 2, 30),
        (1, {"low": 0.05, "high": 0.5, "share": True}, 1, 20),
        (5, {"low": 2, "high": 20, "step": 4}, 5, 17),  # 5, 9, 13, 17
        (6, {"low": 2, "high": 20, "step": 4}, 2, 18),
    ],
)
def test_whole_numbers_have_the_recipe_on_their_grid(recipe, of, low, high):
    space = spaces({"settings.warmup_epochs": Range(**of)}, config(settings={"warmup_epochs": recipe}))[
        "settings.warmup_epochs"
    ]
    assert (space.recipe, space.low, space.high, space.whole) == (recipe, low, high, True)


def test_a_setting_that_the_recipe_leaves_open_needs_choices():
    open_one = config(method="dividemix")
    found = spaces({"settings.lambda_u": Range(choices=[5.0, 25.0])}, open_one)["settings.lambda_u"]
    assert found.choices == (None, 5.0, 25.0)
    with pytest.raises(UserError, match="settings.lambda_u is None in the recipe"):
        spaces({"settings.lambda_u": Range(low=0.0, high=25.0)}, open_one)


def test_rates_by_epoch_follow_the_learning_rate():
    steps = {"name": "steps", "steps": [[0, 0.05], [20, 0.005]]}
    base = config(schedule=steps, optimizer={"lr": 0.05})
    given = values_given({"optimizer.lr": 0.1, "settings.kappa": 3.0, "batch_size": 32}, base)
    assert given["schedule"]["steps"] == [[0, pytest.approx(0.1)], [20, pytest.approx(0.01)]]
    assert (given["optimizer"], given["settings"], given["batch_size"]) == ({"lr": 0.1}, {"kappa": 3.0}, 32)
    assert "schedule" not in values_given({"optimizer.lr": 0.1}, config())


@pytest.fixture
def card(tmp_path, monkeypatch):
    """A card of MSLG with recipes that were tuned, in place of its own."""
    recipes = {
        "default": 1, "digits": 2, "default:frozen": 4, "digits:frozen": 8, "cifar10": 16, "cifar10:frozen": 32,
    }  # fmt: skip
    text = 'title = "M"\n'
    for number, (name, trials) in enumerate(recipes.items()):
        text += f'[recipes."{name}"]\nsettings = {{ kappa = {number + 2}.0 }}\n'
        text += f'[tuned."{name}"]\ntrials = {trials}\nseeds = [100]\njudge = "noisy-val"\nnoise = "symmetric"\n'
    (tmp_path / "mslg.toml").write_text(text.replace("settings = { kappa = 4.0 }", "optimizer = { lr = 0.3 }"))
    own, real = registry.parse_card(tmp_path / "mslg.toml", MethodCard), registry.method_card
    monkeypatch.setattr(registry, "method_card", lambda name: own if name == "mslg" else real(name))


@pytest.mark.parametrize(
    "given, trials",
    [
        ({"dataset": "digits"}, 2),
        ({"dataset": "synthetic"}, 1),  # the default recipe
        ({"dataset": "digits", "frozen": True}, 4 + 8),  # the rate of one, κ of the other
        ({"dataset": "digits", "frozen": True, "optimizer": {"lr": 0.1}}, 8),
        ({"dataset": "digits", "frozen": True, "settings": {"kappa": 0.0}}, 4),
        ({"dataset": "digits", "frozen": True, "settings": {"kappa": 0.0}, "optimizer": {"lr": 0.1}}, 0),
        ({"dataset": "digits", "settings": {"kappa": 1.0}}, 0),
        ({"dataset": "cifar10n", "noise": "none"}, 16),  # its base's recipe
        ({"dataset": "cifar10n", "noise": "none", "frozen": True, "optimizer": {"lr": 0.1}}, 32),
        ({"method": "ce", "dataset": "digits"}, 0),
    ],
)
def test_trials_count_as_long_as_what_they_found_is_in_use(card, given, trials):
    assert tuning_trials(config(**given)) == trials


@pytest.mark.parametrize(
    "space, values",
    [
        (Space(1.0, 0.5, 4.5), [0.5, 1.5, 2.5, 3.5]),
        (Space(1.0, 0.01, 100.0, log=True), [0.01, 0.1, 1.0, 10.0]),
        (Space(2, 2, 8, whole=True, step=2), [2, 4, 6, 8]),
        (Space(None, choices=(None, "a")), [None, None, "a", "a"]),
    ],
)
def test_the_value_at_a_part_of_a_range(space, values):
    found = [space.at(part) for part in (0.0, 0.25, 0.5, 0.75)]
    assert found == [value if isinstance(value, str | None) else pytest.approx(value) for value in values]
    assert space.choices is not None or space.at(0.999999) <= space.high
