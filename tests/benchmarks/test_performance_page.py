"""docs/performance.md says what the records beside it say."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "scripts" / "performance_page.py"
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason="not in a checkout")


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("performance_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_made_from_its_records(script):
    text = script.PAGE.read_text(encoding="utf-8")
    named = re.findall(r"<!-- tables of performance/(\S+) -->", text)
    assert sorted(named) == sorted(file.name for file in (ROOT / "docs" / "performance").glob("*.json"))
    assert script.filled(text, script.PAGE.parent) == text


def test_a_changed_record_changes_the_page(script, tmp_path):
    records = json.loads((ROOT / "docs" / "performance" / "epoch.json").read_text(encoding="utf-8"))
    values = [2 * value for value in records[0]["values"]]
    records[0] |= {"values": values, "median": 2 * records[0]["median"]}
    records[0]["quartiles"] = [2 * each for each in records[0]["quartiles"]]
    (tmp_path / "twice.json").write_text(json.dumps(records), encoding="utf-8")
    page = "before\n<!-- tables of twice.json -->\nold\n<!-- end of tables -->\nafter"
    filled = script.filled(page, tmp_path)
    assert "old" not in filled and filled.startswith("before\n<!-- tables") and filled.endswith("tables -->\nafter")
    assert f"{2 * records[0]['median'] / 2:.4g} s" in filled
