"""A dataset layout of another package with the card of a dataset in it: from the folder to a trained run."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from noisybench.spec import registry
from noisybench.spec.record import RunRecord

GROUP, CARDS = "noisybench.layouts", "noisybench.cards"
MODULE = """
    from noisybench.data.listing import Listing, Part

    def read_pairs(card, root, checked, report):
        '''Lines of file and class name, in train.txt and test.txt.'''
        parts = {}
        for name in ("train", "test"):
            file = root / f"{name}.txt"
            if not file.is_file():
                report.problems.append(f"{file.name} is missing")
                continue
            rows = [line.split() for line in file.read_text().splitlines()]
            parts[name] = Part([name for name, _ in rows], [card.classes.index(title) for _, title in rows])
        return None if report.problems else Listing(root, parts)

    def nothing(card, root, checked, report):
        return None

    def half(card, root, checked, report):
        return Listing(root, {"train": Part([], [])})

    def short(card, root, checked, report):
        return Listing(root, {"train": Part(["a"], [0, 1]), "test": Part([], [])})

    def outside(card, root, checked, report):
        return Listing(root, {"train": Part(["a", "b"], [0, 2]), "test": Part([], [])})

    def few(card, root):
        return None
"""
NAMES = ("nothing", "half", "short", "outside", "few")
CARD = """
    title = "Bright and dark"
    source = "{source}"
    classes = ["dark", "bright"]
    image_size = 8
    channels = 3
    mean = [0.5, 0.5, 0.5]
    std = [0.25, 0.25, 0.25]
    licence = "none"
    homepage = ""
    defaults = {{ model = "noisybench_mlp", epochs = 3, batch_size = 16, optimizer = {{ lr = 0.1 }} }}
    splits = {{ meta_size = 8, noisy_val_size = 8, clean_val_size = 8 }}
"""


@pytest.fixture
def layouts(plugin):
    points = {GROUP: {"pairs": "my_layouts:read_pairs", **{name: f"my_layouts:{name}" for name in NAMES}}}
    cards = {f"my_cards/datasets/of-{name}.toml": CARD.format(source=name) for name in ("pairs", *NAMES)}
    files = {"my_layouts.py": MODULE, "my_cards/__init__.py": "", **cards}
    files["my_cards/datasets/of-typo.toml"] = CARD.format(source="pears")
    plugin("mine", points | {CARDS: {"mine": "my_cards"}}, files)


@pytest.fixture
def folder(tmp_path):
    """80 images to train on and 20 to test on, half of them dark."""
    root = tmp_path / "images"
    root.mkdir()
    drawn = np.random.default_rng(0)
    for part, count in (("train", 80), ("test", 20)):
        lines = []
        for number in range(count):
            bright = number % 2
            pixels = drawn.integers(150 * bright, 100 + 150 * bright, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / f"{part}{number}.png")
            lines.append(f"{part}{number}.png {'bright' if bright else 'dark'}\n")
        (root / f"{part}.txt").write_text("".join(lines))
    return root


def test_it_is_listed_verified_and_trained_on(cli, layouts, folder, tmp_path):
    code, out, _ = cli("layouts")
    assert code == 0 and "Lines of file and class name" in out and "clothing1m" in out
    assert "not usable: few of mine: is my_layouts:few, which is not a function of (card, root, checked, report)" in out
    code, out, _ = cli("datasets")
    assert code == 0 and "of-pairs" in out and "Bright and dark" in out
    assert "not usable: of-typo of mine: card " in out
    assert "source: unknown source 'pears': did you mean pairs?" in out
    code, out, err = cli("data", "verify", "of-pairs", "--data-path", folder)
    assert code == 0, err
    output = tmp_path / "run"
    code, _, err = cli("run", "--dataset", "of-pairs", "--data-path", folder, "--noise-rate", "0.2", "--output", output)
    assert code == 0, err
    record = RunRecord.load(output / "result.json")
    assert record.metrics["test_accuracy_last"] == 1.0  # brightness tells the classes apart
    assert record.noise["achieved_rate"] == pytest.approx(0.2)


def test_what_it_misses_is_one_line(cli, layouts, folder, tmp_path):
    (folder / "test.txt").unlink()
    code, _, err = cli("run", "--dataset", "of-pairs", "--data-path", folder, "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and "test.txt is missing" in err
    (folder / "test.txt").write_text("one.png bright extra\n")
    code, _, err = cli("run", "--dataset", "of-pairs", "--data-path", folder, "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and f"layout 'pairs' failed on {folder}: ValueError: too many" in err


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nothing", "layout 'nothing' on {}: gave a NoneType and no problem, where a Listing was to be"),
        ("half", "layout 'half' on {}: its listing has no part 'test'"),
        ("short", "layout 'short' on {}: its part 'train' has 1 names, 2 labels and 2 true labels"),
        ("outside", "layout 'outside' on {}: 1 labels of its part 'train' are outside 0..1"),
        ("few", "layout 'few' is my_layouts:few, which is not a function of (card, root, checked, report)"),
    ],
)
def test_a_layout_that_gives_no_listing_is_one_line(cli, layouts, folder, tmp_path, source, said):
    code, _, err = cli("run", "--dataset", f"of-{source}", "--data-path", folder, "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and said.format(folder) in err
    assert not (tmp_path / "run").exists()


def test_names_that_noisybench_uses_itself(cli, plugin):
    text = "def read(card, root, checked, report): ..."
    plugin("strange", {GROUP: {name: "bad_layout:read" for name in ("hub", "digits", "csv")}}, {"bad_layout.py": text})
    code, out, _ = cli("layouts")
    assert code == 0 and "clothing1m" in out
    assert "not usable: hub of strange: noisybench uses the name 'hub' itself: rename this layout" in out
    assert "not usable: digits of strange: noisybench uses the name 'digits' itself: rename this layout" in out
    assert "not usable: csv of strange: noisybench has a layout 'csv' of its own" in out
    assert registry.names("layout") == ["animal10n", "clothing1m", "csv", "food101n", "imagefolder", "webvision"]
