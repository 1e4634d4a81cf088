"""Names and cards."""

from __future__ import annotations

import pytest

import noisybench
from noisybench.core.errors import UserError
from noisybench.spec import registry
from noisybench.spec.cards import MethodCard
from noisybench.spec.layers import recipe_conditions


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
                noisybench.resolve(noisybench.RunConfig(method=name, **conditions))
        noisybench.resolve(noisybench.RunConfig(method=name, ruleset="blind"))
