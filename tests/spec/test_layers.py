"""Resolving: cards below, what is set on top, at every level; and what does not fit together."""

from __future__ import annotations

import hashlib

import pytest

from noisybench import ResolvedConfig, RunConfig, resolve
from noisybench.core.errors import UserError
from noisybench.spec import registry
from noisybench.spec.layers import resolve_dict
from noisybench.spec.schedule import learning_rate
from noisybench.spec.values import OptimizerConfig


def test_layers_in_order():
    """Defaults < dataset card < recipe < what is given."""
    assert resolve(RunConfig(method="ce")).model == "noisybench_cnn4"  # the digits card over the default
    cifar = resolve(RunConfig(method="mslg", dataset="cifar10"))
    assert cifar.settings["warmup_epochs"] == 44 and cifar.epochs == 120  # the recipe
    assert cifar.augment.horizontal_flip and not cifar.augment.meta_set  # dataset card and recipe, merged
    given = resolve(RunConfig(method="mslg", dataset="cifar10", epochs=3, settings={"warmup_epochs": 1}))
    assert given.epochs == 3 and given.settings["warmup_epochs"] == 1 and given.settings["kappa"] == 1.5625


def made_up(monkeypatch, **card):
    """Give the method ce a card, and digits a short track."""
    digits = registry.dataset_card("digits")
    tracks = {"fast": {"epochs": 8, "optimizer": {"lr": 0.8}, "order": "sequential"}}
    changed = {
        "digits": digits.model_copy(update={"tracks": tracks}),
        "ce": registry.method_card("ce").model_copy(update=card),
    }
    monkeypatch.setattr(registry, "dataset_card", lambda name: changed[name])
    monkeypatch.setattr(registry, "method_card", lambda name: changed[name])


def test_every_layer_lies_over_the_one_before_key_by_key(monkeypatch):
    made_up(
        monkeypatch,
        recipes={
            "default": {"batch_size": 1, "seed": 99},
            "digits": {"batch_size": 2, "optimizer": {"lr": 0.2, "momentum": 0.2, "nesterov": True, "weight_decay": 2}},
            "digits:authors": {"batch_size": 3, "optimizer": {"momentum": 0.3, "weight_decay": 3}},
        },
        blind={"batch_size": 4, "optimizer": {"weight_decay": 4}},
    )

    def optimizer(**given):
        found = resolve(RunConfig(**given))
        of_layers = {"backbone_lr_factor", "layer_decay"}
        return (found.batch_size, *found.optimizer.model_dump(exclude={"name", *of_layers}).values())

    # batch size; lr, momentum, weight decay, nesterov. A dataset's recipe takes the place of the default one.
    assert optimizer() == (2, 0.2, 0.2, 2, True) and resolve(RunConfig()).seed == 0
    assert optimizer(protocol="authors") == (3, 0.2, 0.3, 3, True)
    assert optimizer(protocol="authors", ruleset="blind") == (4, 0.2, 0.3, 4, True)
    assert optimizer(protocol="authors", ruleset="blind", batch_size=5, optimizer={"lr": 0.5}) == (5, 0.5, 0.3, 4, True)
    # A track's table replaces what lies below it; the rest of the optimizer is as by default.
    assert optimizer(track="fast", ruleset="blind") == (4, 0.8, 0.9, 5e-4, False)
    assert optimizer(track="fast", optimizer={"momentum": 0.5}) == (2, 0.8, 0.5, 5e-4, False)
    assert resolve(RunConfig(track="fast")).epochs == 8 and resolve(RunConfig(track="fast", epochs=9)).epochs == 9


def test_a_value_that_is_the_default_wins_too_if_it_is_set():
    assert resolve(RunConfig()).model == "noisybench_cnn4" and RunConfig().model == "noisybench_cnn8"
    assert resolve(RunConfig(model="noisybench_cnn8")).model == "noisybench_cnn8"
    assert resolve(RunConfig(dataset="cifar10")).augment.horizontal_flip
    assert not resolve(RunConfig(dataset="cifar10", augment={"horizontal_flip": False})).augment.horizontal_flip


def test_of_a_table_given_as_an_object_the_fields_set_in_it_count(monkeypatch):
    made_up(monkeypatch, recipes={"digits": {"optimizer": {"lr": 0.2, "nesterov": True}}})
    found = resolve(RunConfig(optimizer=OptimizerConfig(lr=0.5)))
    assert found.optimizer == OptimizerConfig(lr=0.5, nesterov=True)
    # Of a resolved configuration every field is set: its tables are taken whole.
    made_up(monkeypatch, recipes={})
    plain = resolve(RunConfig())
    made_up(monkeypatch, recipes={"digits": {"optimizer": {"lr": 0.2, "nesterov": True}}})
    assert resolve(RunConfig(optimizer=plain.optimizer)).optimizer == plain.optimizer
    assert not plain.optimizer.nesterov


def test_none_leaves_to_the_cards_what_only_they_know():
    assert resolve(RunConfig(epochs=None, meta_size=None)) == resolve(RunConfig())
    # Elsewhere it is a value: here the dataset's own size, over a recipe's.
    assert resolve(RunConfig(image_size=None)).image_size is None


@pytest.mark.parametrize("method", registry.method_names())
def test_resolving_is_idempotent(method):
    resolved = resolve(RunConfig(method=method, dataset="cifar10", seed=3, settings={}))
    assert isinstance(resolved, ResolvedConfig) and resolve(resolved) is resolved
    assert resolve(RunConfig(**resolved.model_dump())) == resolved
    assert resolve_dict(resolved.model_dump(mode="json")) == resolved  # as a record stores it


def test_the_paper_values_of_mslg_on_cifar10():
    config = resolve(RunConfig(method="mslg", dataset="cifar10", protocol="authors"))
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


def test_a_limited_train_set_shrinks_the_held_out_parts_unless_they_are_given():
    def sizes(**given):
        config = resolve(RunConfig(dataset="cifar10", **given))
        return config.meta_size, config.noisy_val_size, config.clean_val_size

    assert sizes() == (4000, 500, 500)
    assert sizes(limit_train=5000) == (400, 50, 50)
    assert sizes(limit_train=5000, meta_size=1000) == (1000, 50, 50)


def test_files_are_known_by_their_content(tmp_path):
    noise, checked = tmp_path / "noise.npz", tmp_path / "checked.csv"
    noise.write_bytes(b"labels")
    checked.write_text("index,label\n" + "".join(f"{row},0\n" for row in range(13)))
    found = resolve(RunConfig(noise=f"file:{noise}"))
    assert (found.noise, found.noise_file, found.noise_rate) == ("file", noise, 0.0)
    assert found.noise_file_sha256 == hashlib.sha256(b"labels").hexdigest()
    own = {"dataset": "food101n", "clean_labels": checked, "clean_labels_sha256": None}
    found = resolve(RunConfig(**own))
    assert (found.meta_size, found.clean_val_size) == (11, 2)  # a fifth of 13, rounded down, is for validation
    assert found.clean_labels_sha256 == hashlib.sha256(checked.read_bytes()).hexdigest()
    assert resolve(RunConfig(**own, meta_size=4)).meta_size == 4
    for given in ({"noise": f"file:{noise}", "noise_file_sha256": "0" * 64}, own | {"clean_labels_sha256": "0" * 64}):
        with pytest.raises(UserError, match="the file was changed|its hash differs"):
            resolve(RunConfig(**given))


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
        ({"optimizer": {"name": "adam", "nesterov": True}}, "optimizer.nesterov needs optimizer.name=sgd, not adam"),
        ({"noise": "feature-dependent"}, "noise 'feature-dependent' reads a file: give --noise feature-dependent:FILE"),
        ({"dataset": "clothing1m", "noise": "symmetric"}, "whose labels are noisy as they are: use --noise none"),
        # Values of a wrong type, which cards are never asked about.
        ({"dataset": 3}, "dataset: input should be a valid string, not 3"),
        ({"dataset": "cifar10", "limit_train": "many"}, "limit_train: input should be a valid integer"),
        ({"noise_file": 3}, "noise_file: input is not a valid path"),
        ({"settings": [1]}, "settings: input should be a valid dictionary, not [1]"),
    ],
)
def test_wrong_configuration_is_one_line(given, message):
    with pytest.raises(UserError) as caught:
        resolve_dict(given)
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("track", ["standard", "fast"])
@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"batch_size": "many"}, "batch_size: input should be a valid integer"),
        ({"epoch": 3}, "unknown configuration key 'epoch': did you mean epochs"),
        ({"settings": 3}, "settings: input should be a valid dictionary, not 3"),
        ({"settings": {"q": 1}}, "unknown configuration key 'method.q'"),
    ],
)
def test_a_wrong_card_is_one_line_too(monkeypatch, recipe, message, track):
    made_up(monkeypatch, recipes={"digits": recipe})
    with pytest.raises(UserError, match=message):
        resolve(RunConfig(track=track))
