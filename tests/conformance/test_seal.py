"""What a method must not see is found wherever and in whatever form it is kept; what it was given is no secret."""

from __future__ import annotations

import sys

import leaky_methods
import pytest
import torch

from noisybench.conformance import check_method
from noisybench.conformance.checks import Subject, sealed
from noisybench.conformance.finding import Finding


def found(name: str) -> str:
    """What the sealed check says of a leaky method; empty if nothing."""
    try:
        sealed(Subject(f"leaky_methods:{name}", {}))
    except Finding as finding:
        return finding.what
    return ""


@pytest.mark.parametrize("form", leaky_methods.FORMS)
def test_true_labels_are_recognised_in_any_form(monkeypatch, form):
    monkeypatch.setattr(leaky_methods.Leaky, "form", form)
    said = found("Leaky")
    assert said.startswith("method.kept") and said.endswith("can be reached"), said
    assert "true labels" in said or "which labels are wrong" in said


PLACES = {  # class: (where, what)
    "KeepsTestLabelsButTen": ("method.kept", "the test set's labels, a part of them"),
    "KeepsAnImage": ("method.kept", "images of clean validation"),
    "KeepsRawTestImages": ("method.kept", "test images"),
    "OnTheNetwork": ("method.network.kept", "the true labels"),
    "OnTheClass": ("method.OnTheClass.kept", "the true labels"),
    "InAGlobal": ("kept_here", "the true labels"),
    "InAGlobalDict": ("KEPT.labels", "the true labels"),
    "OnAModule": ("elsewhere.labels", "the true labels"),
    "OnTorch": ("torch.kept_by_a_method", "the true labels"),
    "OnTheContext": ("method.context.kept", "the true labels"),
    "OnAFunction": ("true_labels.kept", "the true labels"),
}


@pytest.fixture
def put_back(monkeypatch):
    """What the methods set outside of themselves is gone afterwards."""
    monkeypatch.setitem(sys.modules, "leaky_elsewhere", leaky_methods.elsewhere)
    monkeypatch.setattr(leaky_methods, "kept_here", None)
    yield
    leaky_methods.KEPT.clear()
    for holder, name in (
        (leaky_methods.elsewhere, "labels"),
        (leaky_methods.OnTheClass, "kept"),
        (leaky_methods.true_labels, "kept"),
        (torch, "kept_by_a_method"),
    ):
        vars(holder).pop(name, None) if not isinstance(holder, type) else _drop(holder, name)


def _drop(holder: type, name: str) -> None:
    if name in vars(holder):
        delattr(holder, name)


@pytest.mark.parametrize("name", PLACES)
def test_true_labels_are_found_wherever_they_are_kept(put_back, name):
    where, what = PLACES[name]
    said = found(name)
    assert where in said and f"({what})" in said, said


def test_what_a_method_was_given_is_no_secret():
    assert check_method("leaky_methods:InnocentMemory").lines()[0].startswith("leaky_methods:InnocentMemory: passes")
