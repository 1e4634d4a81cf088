"""docs/extend.md: its package is written, really installed, and every command on the page is run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plugins import Place

from noisybench.spec.extension_kinds import KINDS
from noisybench.spec.record import RunRecord

PAGE = (Path(__file__).parents[2] / "docs" / "extend.md").read_text(encoding="utf-8")


@pytest.fixture
def place(tmp_path):
    """A working directory with the page's package, and the images that its layout reads."""
    for language, block in re.findall(r"```(toml|python)\n(.*?)```", PAGE, flags=re.DOTALL):
        first, _, text = block.partition("\n")
        assert first.startswith("# noisybench-extras/"), (language, first)
        file = tmp_path / first.removeprefix("# ")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    for package in ("extras", "extras/cards"):
        (tmp_path / "noisybench-extras" / package / "__init__.py").touch()
    (tmp_path / "pairs").mkdir()
    drawn = np.random.default_rng(0)
    for part, count in (("train", 60), ("test", 10)):
        lines = []
        for number in range(count):
            pixels = drawn.integers(150 * (number % 2), 100 + 150 * (number % 2), (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pairs" / f"{part}{number}.png")
            lines.append(f"{part}{number}.png {'bright' if number % 2 else 'dark'}\n")
        (tmp_path / "pairs" / f"{part}.txt").write_text("".join(lines))
    return tmp_path


@pytest.mark.slow
def test_the_page_works(place):
    at = Place(place)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    outputs = {line: at.run(line) for block in blocks for line in block.splitlines()}
    assert "Lines of file and class name" in outputs["noisybench layouts"]
    record = RunRecord.load(place / "run" / "result.json")
    assert (record.config["noise"], record.config["model"]) == ("to-first", "my_linear")
    assert record.config["augment"]["extra"] == {"blot": {"size": 3}}
    assert record.curves["learning_rate"] == pytest.approx([0.05, 0.05 * 0.5**1.5])
    assert 0.2 < record.noise["achieved_rate"] < 0.34  # 0.3 of nine classes in ten
    rows = [json.loads(line) for line in (place / "run" / "lines.jsonl").read_text().splitlines()]
    assert [row["test_accuracy"] for row in rows] == record.curves["test_accuracy"]
    assert RunRecord.load(place / "of-pairs" / "result.json").status == "completed"
    for name in ("noise", "layout", "model", "augmentation", "schedule", "tracker"):
        assert "noisybench-extras" not in at.run(f"noisybench {name}s")  # which only its broken ones would show


def test_the_page_names_every_kind():
    for kind in KINDS.values():
        assert f"| `{kind.group}` |" in PAGE and f"`noisybench {kind.plural}`" in PAGE


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_listed_and_a_typo_is_told(cli, kind):
    code, out, _ = cli(f"{kind}s")
    assert code == 0 and f"{kind}s" in out
    own = {"method": "mslg", "noise": "pair-flip", "layout": "clothing1m", "model": "noisybench_cnn8"}
    own |= {"augmentation": "vertical-flip", "schedule": "triangular", "tracker": "wandb"}
    assert f"│ {own[kind]} " in out
    code, out, _ = cli(f"{kind}s", "show", own[kind])
    assert code == 0 and own[kind] in out.splitlines()[0]
    code, _, err = cli(f"{kind}s", "show", own[kind][:-1])
    assert code == 2 and f"unknown {kind} {own[kind][:-1]!r}: did you mean {own[kind]}" in err


def test_every_entry_of_noisybench_loads_and_says_what_it_is():
    from noisybench.spec import registry
    from noisybench.spec.extensions import summary

    for kind in KINDS:
        assert registry.names(kind)
        for name in registry.names(kind):
            found = registry.load(kind, name)
            assert kind == "method" or summary(found), (kind, name)
