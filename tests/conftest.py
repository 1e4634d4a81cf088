"""Shared fixtures."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

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

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        from noisybench.cli import main

        monkeypatch.setattr(sys, "argv", ["noisybench", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def write_image_parquet(folder: Path, sizes: dict[str, int], *, num_classes: int = 10, side: int = 32) -> None:
    """A folder in the Hub's CIFAR-10 form (columns ``img`` and ``label``): class-dependent random PNGs."""
    import datasets
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    drawn = np.random.default_rng(0)
    features = datasets.Features({"img": datasets.Image(), "label": datasets.Value("int64")})
    for split, size in sizes.items():
        rows = {"img": [], "label": []}
        for row in range(size):
            label = row % num_classes
            pixels = drawn.integers(0, 100, (side, side, 3)) + 15 * label
            encoded = io.BytesIO()
            Image.fromarray(pixels.astype(np.uint8)).save(encoded, format="PNG")
            rows["img"].append({"bytes": encoded.getvalue(), "path": None})
            rows["label"].append(label)
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(folder / f"{split}-00000-of-00001.parquet")


@pytest.fixture(scope="session")
def cifar_like(tmp_path_factory) -> Path:
    """A small stand-in for CIFAR-10's Parquet folder: 300 train and 100 test images."""
    folder = tmp_path_factory.mktemp("cifar-like")
    write_image_parquet(folder, {"train": 300, "test": 100})
    return folder
