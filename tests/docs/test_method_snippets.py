"""The methods in docs/add-a-method.md pass the check as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "docs" / "add-a-method.md").read_text(encoding="utf-8")
SNIPPETS = [block for block in re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL) if "import" in block]
NAMES = [re.search(r"class (\w+)\(Method\)", block)[1] for block in SNIPPETS]


def test_each_is_one_method():
    assert NAMES == ["Offsets", "LearnedTransition", "Clipped", "MixedAverage", "FreshHead"]


@pytest.mark.parametrize(("name", "text"), zip(NAMES, SNIPPETS, strict=True), ids=NAMES)
def test_it_passes_the_check(cli, tmp_path, monkeypatch, name, text):
    module = f"snippet_{name.lower()}"
    (tmp_path / f"{module}.py").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    code, out, err = cli("check", f"{module}:{name}")
    assert code == 0, out + err
    assert "passes all" in out
