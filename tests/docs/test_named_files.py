"""Files that the pages name exist, and so do the pages they link to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], key=lambda page: page.name)
FOLDERS = ("noisybench", "benchmarks", "tests", "scripts", "docs", "registry", "examples", "leaderboards")


def named_files(text: str) -> list[str]:
    """Paths from the project's root that stand in backticks; NAME and other capitals stand for anything."""
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]*)`", text)
    made_by_build = "noisybench/_cards"
    return [name for name in named if not re.search(r"[A-Z]{3}", name) and not name.startswith(made_by_build)]


def linked(text: str) -> list[str]:
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    return [target for target in targets if not target.startswith(("http://", "https://"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    assert [name for name in named_files(text) if not any(ROOT.glob(name))] == []
    assert [target for target in linked(text) if not (page.parent / target).exists()] == []


def test_what_is_looked_for_is_found():
    text = "See `tests/no/such.py`, `noisybench/methods/NAME.py` and [this](docs/none.md#part), [that](https://a.b)."
    assert named_files(text) == ["tests/no/such.py"] and linked(text) == ["docs/none.md"]
