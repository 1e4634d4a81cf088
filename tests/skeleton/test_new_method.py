"""A method in a package of its own, really installed: the example, and the walk through docs/add-a-method.md."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from plugins import Place

from noisybench.skeleton.write import FILES
from noisybench.spec.record import RunRecord

ROOT = Path(__file__).parents[2]


def documented_commands() -> list[str]:
    """The lines of all ``sh`` blocks."""
    text = (ROOT / "docs" / "add-a-method.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


@pytest.mark.slow
def test_the_walk_through_the_documentation(tmp_path):
    place = Place(tmp_path)
    outputs = {command: place.run(command) for command in documented_commands()}
    assert "my-loss: passes all" in outputs["noisybench check my-loss"]
    assert re.search(r"my-loss .* Cross-entropy on tempered logits", outputs["noisybench methods"])
    assert "temperature: 1.0" in outputs["noisybench methods show my-loss"]
    assert "1 passed" in outputs["pytest noisybench-my-loss"]
    record = RunRecord.load(next((tmp_path / "runs").glob("my-loss-digits-symmetric-0.4-seed0-*/result.json")))
    assert record.config["settings"] == {"temperature": 2.0}
    assert len(record.curves["test_accuracy"]) == 2


@pytest.mark.slow
def test_the_example_plugin(tmp_path):
    place = Place(tmp_path)
    place.install(ROOT / "examples" / "plugin")
    assert re.search(r"label-smoothing .* ICML 2020", place.run("noisybench methods"))
    assert place.run("noisybench check label-smoothing").startswith("label-smoothing: passes all")
    command = "noisybench run --method label-smoothing --epochs 3 --set method.smoothing=0.2 --output run"
    place.run(command)
    record = RunRecord.load(tmp_path / "run" / "result.json")
    assert record.status == "completed" and record.config["settings"] == {"smoothing": 0.2}
    assert record.metrics["test_accuracy_last"] > 0.3  # 0.1 is chance


def test_the_skeleton_has_no_blanks(cli, tmp_path):
    code, out, _ = cli("new-method", "my-2nd-loss", "--output", tmp_path / "deep" / "place")
    assert code == 0 and f"pip install -e {tmp_path / 'deep' / 'place'}" in out
    files = {str(file.relative_to(tmp_path / "deep" / "place")): file.read_text() for file in written(tmp_path)}
    assert set(files) == {
        "pyproject.toml",
        "README.md",
        "noisybench_my_2nd_loss/__init__.py",
        "noisybench_my_2nd_loss/method.py",
        "noisybench_my_2nd_loss/cards/methods/my-2nd-loss.toml",
        "tests/test_my_2nd_loss.py",
    }
    assert len(files) == len(FILES)
    assert not any("$" in text or "TODO" in text for text in files.values())
    points = tomllib.loads(files["pyproject.toml"])["project"]["entry-points"]
    assert points["noisybench.methods"] == {"my-2nd-loss": "noisybench_my_2nd_loss.method:My2ndLoss"}
    assert "class My2ndLoss(Method):" in files["noisybench_my_2nd_loss/method.py"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mslg", "registered already"),
        ("My_Loss", "use small letters"),
        ("a/b", "use small letters"),
        ("-x", "No such option"),
        ("my--loss", "use small letters"),
        ("2nd", "use small letters"),
    ],
)
def test_a_name_that_cannot_be_is_refused(cli, tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    code, _, err = cli("new-method", name)
    assert code == 2 and said in err
    assert not written(tmp_path)


def test_a_folder_that_exists_is_left_alone(cli, tmp_path):
    (tmp_path / "mine").mkdir()
    code, _, err = cli("new-method", "my-loss", "--output", tmp_path / "mine")
    assert code == 2 and "exists already: give another --output" in err
    assert not written(tmp_path)


def written(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]
