"""What a user installs, and what the files at the door say of it."""

from __future__ import annotations

import configparser
import email
import importlib.metadata
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import noisybench
from noisybench.spec.extension_kinds import KINDS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (file,) = folder.iterdir()
    return zipfile.ZipFile(file)


def test_the_wheel_holds_types_cards_and_page_and_nothing_else(wheel):
    names = set(wheel.namelist())
    assert {
        "noisybench/py.typed",
        "noisybench/leaderboard/page/main.js",
        "noisybench/skeleton/files/method.txt",
    } <= names
    kinds = ("benchmarks", "datasets", "methods")
    cards = {f"noisybench/_cards/{kind}/{card.name}" for kind in kinds for card in (ROOT / "registry" / kind).iterdir()}
    assert cards and cards <= names
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"noisybench", f"noisybench-{noisybench.__version__}.dist-info"}


def test_the_wheel_registers_what_every_kind_of_extension_has(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("/entry_points.txt")]
    registered = configparser.ConfigParser(delimiters=("=",))
    registered.optionxform = str
    registered.read_string(wheel.read(name).decode())
    for kind in KINDS.values():
        entries = dict(registered[kind.group])
        assert entries, kind.group
        # what is installed where the tests run is what the wheel says
        installed = importlib.metadata.entry_points(group=kind.group)
        own = {entry.name: entry.value for entry in installed if entry.value.startswith("noisybench.")}
        assert own == entries


def test_version_and_licence_are_said_once(wheel):
    (name,) = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    metadata = email.message_from_bytes(wheel.read(name))
    assert metadata["Version"] == noisybench.__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8").splitlines()
    assert f"version: {noisybench.__version__}" in citation
    assert f"license: {metadata['License-Expression']}" in citation


def test_the_checks_before_a_commit_are_those_of_ci():
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    entries = [
        line.partition("entry: ")[2].removesuffix(" --check") for line in hooks.splitlines() if "entry: " in line
    ]
    assert "ruff check" in entries and "lint-imports" in entries
    for entry in entries:
        assert any(line.startswith(entry) for line in ci), entry


def test_every_marker_is_explained():
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["pytest"]["ini_options"]
    assert any(marker.startswith("slow:") for marker in options["markers"])
