"""Configuration layers, names and cards."""

from __future__ import annotations

import pytest

import noisybench
from noisybench.core.errors import UserError
from noisybench.core.nested import merge
from noisybench.spec import registry
from noisybench.spec.cards import MethodCard
from noisybench.spec.config import build_config
from noisybench.spec.layers import recipe_conditions
from noisybench.spec.schedule import learning_rate
from noisybench.spec.text import parse_override


def test_layers_in_order(tmp_path):
    """Defaults < dataset card < recipe < what is given."""
    assert noisybench.RunConfig(method="ce").model == "noisybench_cnn4"  # the digits card over the default
    cifar = noisybench.RunConfig(method="mslg", dataset="cifar10")
    assert cifar.settings["warmup_epochs"] == 44 and cifar.epochs == 120  # the recipe
    assert cifar.augment.horizontal_flip and not cifar.augment.meta_set  # dataset card and recipe, merged
    given = noisybench.RunConfig(method="mslg", dataset="cifar10", epochs=3, settings={"warmup_epochs": 1})
    assert given.epochs == 3 and given.settings["warmup_epochs"] == 1 and given.settings["kappa"] == 1.5625


def test_the_paper_values_of_mslg_on_cifar10():
    config = noisybench.RunConfig(method="mslg", dataset="cifar10", protocol="authors")
    # kappa = alpha * beta / (N * C) with the authors' alpha 0.5, beta 4000, N 128, C 10.
    assert config.settings["kappa"] == 0.5 * 4000 / (128 * 10)
    assert (config.settings["inner_lr"], config.settings["entropy_weight"], config.settings["initial_gap"]) == (
        0.5,
        1,
        10,
    )
    assert config.settings["label_floor"] == 1e-10 and config.settings["meta_statistics"]
    assert config.order == "sequential" and config.augment.vertical_flip
    rates = [learning_rate(config.optimizer.lr, config.schedule, e, 120) for e in (0, 40, 41, 80, 81, 119)]
    assert rates == [1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4]
    assert config.model == "noisybench_cnn8" and config.meta_size == 4000


def test_run_id_is_of_what_can_change_a_result(tmp_path):
    base = noisybench.RunConfig(method="ce")
    assert noisybench.RunConfig(method="ce", output=tmp_path, wandb=True).run_id == base.run_id
    assert noisybench.RunConfig(method="ce", seed=1).run_id != base.run_id
    assert noisybench.RunConfig(**base.model_dump()).run_id == base.run_id  # resolved configurations are fixed points


def test_a_limited_train_set_shrinks_the_held_out_parts_unless_they_are_given():
    def sizes(**given):
        config = noisybench.RunConfig(dataset="cifar10", **given)
        return config.meta_size, config.noisy_val_size, config.clean_val_size

    assert sizes() == (4000, 500, 500)
    assert sizes(limit_train=5000) == (400, 50, 50)
    assert sizes(limit_train=5000, meta_size=1000) == (1000, 50, 50)


def test_overrides():
    assert parse_override("optimizer.lr=0.1") == {"optimizer": {"lr": 0.1}}
    assert parse_override("method.engine=head") == {"settings": {"engine": "head"}}
    assert parse_override("schedule.steps=[[0, 0.1]]") == {"schedule": {"steps": [[0, 0.1]]}}
    assert merge({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}) == {"a": {"b": 3, "c": 2}}
    with pytest.raises(UserError, match="write KEY=VALUE"):
        parse_override("optimizer.lr")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epoch": 3}, "unknown configuration key 'epoch': did you mean epochs"),
        ({"optimizer": {"lrr": 1}}, "unknown configuration key 'optimizer.lrr': did you mean optimizer.lr"),
        (
            {"method": "mslg", "settings": {"kapa": 1}},
            "unknown configuration key 'method.kapa': did you mean method.kappa",
        ),
        (
            {"method": "mslg", "settings": {"kappa": -1}},
            "method.kappa: input should be greater than or equal to 0, not -1",
        ),
        ({"noise_rate": 1.0}, "noise_rate: input should be less than 1, not 1.0"),
        ({"epochs": -1}, "epochs: input should be greater than or equal to 1, not -1"),
        ({"noise": "symetric"}, "unknown noise 'symetric': did you mean symmetric"),
        ({"dataset": "digit"}, "unknown dataset 'digit': did you mean digits"),
        ({"method": "mslgg"}, "unknown method 'mslgg': did you mean mslg"),
        ({"schedule": {"name": "steps", "steps": [[1, 0.1]]}}, "schedule: steps must be pairs"),
        ({"noise": "none", "noise_rate": 0.2}, "noise_rate 0.2 with noise 'none'"),
        ({"optimizer": {"lr": float("nan")}}, "optimizer.lr: input should be a finite number"),
    ],
)
def test_wrong_configuration_is_one_line(given, message):
    with pytest.raises(UserError) as caught:
        build_config(given)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_schedules():
    config = noisybench.RunConfig(method="ce")

    def rates(epochs, **schedule):
        shape = config.schedule.model_copy(update=schedule)
        return [round(learning_rate(1.0, shape, epoch, epochs), 6) for epoch in range(epochs)]

    assert rates(3, name="constant") == [1, 1, 1]
    assert rates(4, name="cosine") == [1, 0.853553, 0.5, 0.146447]
    assert rates(4, name="cosine-restarts", period=2, floor=0.2) == [1, 0.6, 1, 0.6]
    assert rates(5, name="linear", start=1) == [1, 1, 0.75, 0.5, 0.25]


def test_what_cannot_be_imported_is_named():
    with pytest.raises(UserError, match="'no_such_module:X' cannot be imported"):
        registry.load_method("no_such_module:X")
    with pytest.raises(UserError, match="is not a subclass"):
        registry.load_method("noisybench.spec.config:RunConfig")


def test_cards_are_validated(tmp_path):
    card = tmp_path / "x.toml"
    card.write_text('title = "X"\nsumary = "typo"\n')
    with pytest.raises(UserError, match="sumary"):
        registry.parse_card(card, MethodCard)
    card.write_text("title = \n")
    with pytest.raises(UserError, match="not valid TOML"):
        registry.parse_card(card, MethodCard)


def test_every_card_is_valid_and_every_recipe_builds():
    for name in registry.card_names("datasets"):
        registry.dataset_card(name)
    for name in registry.card_names("benchmarks"):
        registry.benchmark_card(name)
    for name in registry.method_names():
        card = registry.method_card(name)
        for recipe in card.recipes:
            conditions = recipe_conditions(recipe)
            if conditions.get("dataset") in registry.card_names("datasets"):
                noisybench.RunConfig(method=name, **conditions)
        noisybench.RunConfig(method=name, ruleset="blind")
