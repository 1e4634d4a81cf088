"""The surfaces that are tried: each a function of a random generator that takes one odd input."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import random
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import records
import torch
import trees
from PIL import Image

from fuzzing import odd
from fuzzing.command_line import arguments, call, commands
from fuzzing.tally import BadRefusal, Case
from noisybench.core.errors import UserError
from noisybench.core.files import canonical_json, json_text
from noisybench.data import load_dataset
from noisybench.data.decode import Preprocess
from noisybench.leaderboard.validate import read_record
from noisybench.noise import NoiseArtifact
from noisybench.spec import registry
from noisybench.spec.checked_labels import read_checked
from noisybench.spec.layers import resolve_dict
from noisybench.spec.record import RunRecord
from noisybench.train.checkpoint_file import load_checkpoint, save_checkpoint
from noisybench.train.progress_made import saved_progress

ROOT = Path(__file__).parents[3]


def surfaces(folder: Path) -> dict[str, Case]:
    """Every surface by its name.

    Args:
        folder: an empty folder for files; a case of the first surfaces works in it.
    """
    for name in ("command", "csv", "cards", "npz", "checkpoints", "records"):
        (folder / name).mkdir()
    return {
        "command line": functools.partial(_command, folder / "command", commands()),
        "image files": functools.partial(_image, _images()),
        "CSV tables": _csv(folder / "csv"),
        "cards": functools.partial(_card, folder / "cards"),
        "configurations": _configuration,
        "records": functools.partial(_record, json.loads(json_text(records.make_record().model_dump(mode="json")))),
        "noise files": _noise_file(folder / "npz"),
        "checkpoints": _checkpoint(folder / "checkpoints"),
        "environments": functools.partial(_environment, folder / "command"),
    }


def _command(folder: Path, known: dict[str, list[Any]], chance: random.Random) -> None:
    words = chance.choice(sorted(known))
    call(arguments(chance, words, known[words]), folder)


def _images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 4), dtype=np.uint8)
    colour, grey = Image.fromarray(pixels[..., :3]), pixels[..., 0]
    turned = Image.Exif()
    turned[0x112] = 6
    found = [_encoded(colour, kind) for kind in ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM")]
    found += [_encoded(Image.fromarray(pixels), "PNG"), _encoded(Image.fromarray(grey.astype(np.uint16) * 200), "PNG")]
    found += [_encoded(colour, "JPEG", exif=turned, progressive=True), _encoded(colour, "TIFF", compression="tiff_lzw")]
    found += [
        _encoded(Image.fromarray(grey.astype(np.float32)), "TIFF"),
        _encoded(colour.quantize(), "PNG", transparency=3),
    ]
    return found


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def _image(images: list[bytes], chance: random.Random) -> None:
    content = odd.changed_bytes(chance, chance.choice(images))
    try:
        Preprocess(3, 16, shorter=18)(content)
    except ValueError as error:  # what a decoder says; the reader of a dataset names the file
        raise UserError(str(error)) from error


def _csv(root: Path) -> Case:
    for name in "ab":
        for row in range(6):
            trees.photo(root / name / f"{row}.png", ord(name), row, (8, 8))
    lines = [f"{c}/{r}.png,{c},{'test' if r == 5 else 'train'}\n" for c in "ab" for r in range(6)]
    listing = ("path,label,split\n" + "".join(lines)).encode()
    checked = ("path,label\n" + "".join(f"{c}/{r}.png,{c}\n" for c in "ab" for r in range(3))).encode()

    def case(chance: random.Random) -> None:
        if chance.random() < 0.5:
            (root / "list.csv").write_bytes(odd.changed_bytes(chance, listing))
            name, found = f"csv:{root / 'list.csv'}", None
        else:
            (root / "checked.csv").write_bytes(odd.changed_bytes(chance, checked))
            name, found = f"imagefolder:{root}", read_checked(root / "checked.csv")
        load_dataset(registry.dataset_card(name), data_path=None, image_size=8, limit_train=None, checked=found)

    return case


def _toml(value: Any) -> str:
    """A TOML text of values that TOML has; what it has not is left to stand for itself."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(str(key))} = {_toml(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool | float | int) else json.dumps(value)


def _card(folder: Path, chance: random.Random) -> None:
    kind = chance.choice(list(registry.CARDS))
    source = chance.choice(sorted((ROOT / "registry" / kind).glob("*.toml")))
    file = folder / source.name
    if chance.random() < 0.4:
        file.write_bytes(odd.changed_bytes(chance, source.read_bytes()))
    else:
        content = odd.changed_value(chance, tomllib.loads(source.read_text(encoding="utf-8")))
        lines = (
            [f"{json.dumps(str(key))} = {_toml(value)}\n" for key, value in content.items()]
            if isinstance(content, dict)
            else []
        )
        file.write_text("".join(lines), encoding="utf-8", errors="surrogatepass")
    registry.parse_card(file, registry.CARDS[kind])


def _configuration(chance: random.Random) -> None:
    whole = resolve_dict({"method": chance.choice(["ce", "elr", "mslg"])}).model_dump(mode="json")
    few = {"epochs": 1, "optimizer": {"lr": 0.1}, "method": "ce"}
    given = odd.changed_value(chance, whole if chance.random() < 0.5 else few)
    # A TOML file holds a table, whatever is in it, and its keys are text.
    resolved = resolve_dict(given if isinstance(given, dict) else {"settings": given})
    json.loads(resolved.model_dump_json())
    canonical_json(resolved.science())


def _record(whole: dict[str, Any], chance: random.Random) -> None:
    content = odd.changed_value(chance, whole)
    with contextlib.suppress(Exception):  # the hash of what somebody wrote by hand may well be right
        content["content_sha256"] = RunRecord.model_validate(content).content_sha256
    text = json.dumps(content, ensure_ascii=chance.random() < 0.5)
    if chance.random() < 0.2:
        text = odd.changed_bytes(chance, text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogateescape")
    read_record(text, "result.json")


def _noise_file(folder: Path) -> Case:
    labels = np.arange(60) % 3
    NoiseArtifact("symmetric", "by hand", 0.5, 0, 3, labels, np.roll(labels, 1), ("a", "b", "c")).save(
        folder / "whole.npz"
    )
    whole = (folder / "whole.npz").read_bytes()
    with np.load(folder / "whole.npz") as stored:
        arrays = dict(stored)

    def case(chance: random.Random) -> None:
        file = folder / "noise.npz"
        if chance.random() < 0.5:
            file.write_bytes(odd.changed_bytes(chance, whole))
        else:
            header = odd.changed_value(chance, json.loads(str(arrays["header"])))
            kinds = ["<i8", "<f8", "?", "<U2", "u1"]
            changed = {**arrays, chance.choice(["clean", "noisy"]): arrays["clean"].astype(chance.choice(kinds))}
            np.savez(file, **{**changed, "header": np.array(json.dumps(header))})
        NoiseArtifact.load(file)

    return case


def _checkpoint(folder: Path) -> Case:
    row = {"epoch": 0, "loss": 1.0}
    past = {"curves": [row], "step": 9, "train_seconds": 1.0, "wall_seconds": 1.0}
    begun = {
        "first_step": 9,
        "passes": [{"rows": None, "paired_rows": None, "tag": 0}],
        "meter": {"totals": {}, "first_bad": -1},
    }
    state = {"method": {"a": torch.zeros(3)}, "past": past, "epoch": begun}
    whole = save_checkpoint(folder, 1, state).read_bytes()

    def case(chance: random.Random) -> None:
        file = folder / "step-000000001.safetensors"
        if chance.random() < 0.5:
            file.write_bytes(odd.changed_bytes(chance, whole))
        else:
            with contextlib.suppress(TypeError, ValueError, AttributeError):  # what no JSON or tensor can be
                save_checkpoint(folder, 1, odd.changed_value(chance, state))
        saved_progress(load_checkpoint(file), 5, 40)

    return case


VARIABLES = [
    "WORLD_SIZE",
    "RANK",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "ACCELERATE_MIXED_PRECISION",
    "ACCELERATE_DYNAMO_BACKEND",
    "NOISYBENCH_STOP_SECONDS",
    "NOISYBENCH_IMPORT_SECONDS",
    "NOISYBENCH_CACHE",
    "NOISYBENCH_PROCESSES",
    "HOME",
    "LANG",
    "LC_ALL",
    "COLUMNS",
    "NO_COLOR",
    "PYTHONIOENCODING",
    "TMPDIR",
    "TERM",
]
VALUES = ["", "abc", "-1", "0", "1", "2", "9" * 400, "C", "/nonexistent", "ascii", "nan", "no", "inductor", "ü", " "]


def _environment(folder: Path, chance: random.Random) -> None:
    """A real process under an odd environment."""
    changes = {name: chance.choice(VALUES) for name in chance.sample(VARIABLES, chance.choice([1, 2, 3]))}
    if "WORLD_SIZE" in changes and changes["WORLD_SIZE"] not in ("", "0", "1", "abc", "-1"):
        changes.pop("MASTER_PORT", None)  # a whole launch that is not there is waited for
    environment = {
        **os.environ,
        **changes,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    if chance.random() < 0.3:
        environment.pop("HOME", None)
    run = [
        "run",
        "--limit-train",
        "60",
        "--epochs",
        "1",
        "--model",
        "noisybench_mlp",
        "--output",
        f"run{chance.random()}",
    ]
    given = chance.choice([["methods"], ["run", "--dry-run"], run, ["data", "verify", "digits"], ["noises"]])
    done = subprocess.run(
        [sys.executable, "-m", "noisybench", *given], cwd=folder, env=environment, capture_output=True, timeout=300
    )
    text = done.stderr.decode("utf-8", "backslashreplace")
    if done.returncode not in (0, 2) or "Traceback" in text or (done.returncode == 2 and text.count("\n") != 1):
        raise BadRefusal(f"{changes} {given[0]}: exit code {done.returncode}: {text[-300:]}")
    if done.returncode == 2:
        raise UserError(text.strip())
