"""Shared fixtures."""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import plugins
import pytest
import small_sets
from trees import write_image_parquet

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the tests run one process per core

SHARED = Path(__file__).parents[1].parent / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder of golden vectors and real data beside the project; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared")
    return SHARED


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or writes the user's cache of decoded images."""
    monkeypatch.setenv("NOISYBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "noisybench-cache"))


@pytest.fixture
def cli(capsys, monkeypatch):
    """Run the command line in this process: ``cli("run", "--method", "ce")`` -> (exit code, stdout, stderr)."""

    def call(*arguments: str | Path, commands=None) -> tuple[int, str, str]:
        from noisybench.cli.main import app, main

        monkeypatch.setattr(sys, "argv", ["noisybench", *map(str, arguments)])
        code = 0
        try:
            main(commands or app)
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def plugin(tmp_path, monkeypatch) -> Callable:
    """Install packages for one test: ``plugin("noisy-left", {group: {name: value}}, {file: content})``."""
    from noisybench.spec import registry

    site, before = tmp_path / "site", set(sys.modules)
    site.mkdir()
    monkeypatch.syspath_prepend(site)

    def install(*arguments, **more) -> Path:
        plugins.install(site, *arguments, **more)
        importlib.invalidate_caches()
        registry.forget()
        return site

    yield install
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(site)):
            del sys.modules[name]
    monkeypatch.undo()
    registry.forget()


@pytest.fixture
def small_set(tmp_path_factory, monkeypatch):
    """``small_set("clothing1m", root)`` -> the name of a card that promises what the stand-in at ``root`` holds.

    Child processes see it too.
    """
    folder = tmp_path_factory.mktemp("cards")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
    yield functools.partial(small_sets.register, folder)
    sys.modules.pop(small_sets.PACKAGE, None)
    monkeypatch.undo()
    small_sets.forget()


@pytest.fixture
def small_cifar10(small_set) -> str:
    """The name of the card that promises what ``cifar_like`` holds."""
    return small_set("cifar10")


@pytest.fixture(scope="session")
def cifar_like(tmp_path_factory) -> Path:
    """A small stand-in for CIFAR-10's Parquet folder: 300 train and 100 test images."""
    folder = tmp_path_factory.mktemp("cifar-like")
    write_image_parquet(folder, {"train": 300, "test": 100})
    return folder
