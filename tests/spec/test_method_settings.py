"""A method's settings are found without the method, and are the method's."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import get_args

import pytest
from broken_methods import NeverLeavesWarmUp

from noisybench.core.errors import UserError
from noisybench.meta.look_ahead_gradient import HessianEngine, Order
from noisybench.methods import Settings
from noisybench.methods.settings.mlnt import MLNTSettings
from noisybench.spec import registry
from noisybench.spec.method_settings import SETTINGS_GROUP, method_settings, settings_entry_points


@pytest.mark.parametrize("method", registry.method_names())
def test_the_registered_settings_are_the_very_class_of_the_method(method):
    method_class, path = registry.load_method(method), registry.method_entry_points()[method].value
    if method_class.__module__.startswith("noisybench."):
        assert (method, "noisybench") in settings_entry_points()
    assert method_settings(method) is method_class.Settings
    assert method_settings(path) is method_class.Settings


def test_no_settings_are_registered_for_nobody():
    assert {name for name, _ in settings_entry_points()} <= set(registry.method_names())


def test_a_class_that_registers_nothing_is_asked_itself():
    assert method_settings("broken_methods:NeverLeavesWarmUp") is NeverLeavesWarmUp.Settings


def registered(monkeypatch, package: str, value: str) -> None:
    """Let a package register the settings of the method ce, and nobody else any."""
    entries = {("ce", package): importlib.metadata.EntryPoint("ce", value, SETTINGS_GROUP)}
    monkeypatch.setattr("noisybench.spec.method_settings.settings_entry_points", lambda: entries)


def test_another_package_has_no_say(monkeypatch):
    registered(monkeypatch, "stranger", "noisybench.methods.settings.mlnt:MLNTSettings")
    assert method_settings("ce") is Settings
    registered(monkeypatch, "noisybench", "noisybench.methods.settings.mlnt:MLNTSettings")
    assert method_settings("ce") is MLNTSettings


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module:X", "'ce': its settings cannot be imported from no_such_module:X: ModuleNotFoundError"),
        ("noisybench.spec.values:NoSuch", "cannot be imported from noisybench.spec.values:NoSuch: AttributeError"),
        ("noisybench.spec.values:OptimizerConfig", "is not a subclass of noisybench.methods.Settings"),
    ],
)
def test_what_is_registered_wrongly_is_named(monkeypatch, value, message):
    registered(monkeypatch, "noisybench", value)
    with pytest.raises(UserError, match=message):
        method_settings("ce")


def test_unknown_methods_are_named():
    for name, message in [("mslgg", "unknown method 'mslgg': did you mean mslg"), ("a.b:C", "'a.b:C' cannot be impo")]:
        with pytest.raises(UserError, match=message):
            method_settings(name)


def test_mlnt_may_be_set_to_all_that_the_meta_gradient_offers():
    """The settings must not import the meta-gradient, which needs torch, so they name its choices again."""
    fields = MLNTSettings.model_fields
    assert get_args(fields["order"].annotation) == get_args(Order)
    assert get_args(fields["hessian"].annotation) == get_args(HessianEngine)


def test_the_methods_package_gives_every_name_it_says():
    methods = importlib.import_module("noisybench.methods")
    found = {name: getattr(methods, name) for name in methods.__all__}
    assert {get_args(found.pop(name))[0] for name in ("Epochs", "Steps")} == {int}
    assert {name: value.__name__ for name, value in found.items()} == {name: name for name in found}
    with pytest.raises(AttributeError, match="module 'noisybench.methods' has no attribute 'Methud'"):
        _ = methods.Methud
