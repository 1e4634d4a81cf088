"""Noise files that were changed by hand or crafted: each value that none may hold is refused in one line."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile

import numpy as np
import pytest

from noisybench.core.errors import UserError
from noisybench.core.files import canonical_json
from noisybench.noise import NoiseArtifact

CLEAN, NOISY = np.array([0, 1, 2, 0]), np.array([0, 2, 2, 1])
HEADER = {
    "schema_version": 1,
    "kind": "symmetric",
    "rule": "by hand",
    "requested_rate": 0.5,
    "seed": 3,
    "num_classes": 3,
    "classes": ["a", "b", "c"],
}


def crafted(file, *, header=None, drop=(), **arrays):
    """A file whose hash is right for what it holds."""
    content = {**HEADER, **(header or {})}
    content = {name: value for name, value in content.items() if name not in drop}
    clean, noisy = arrays.pop("clean", CLEAN), arrays.pop("noisy", NOISY)
    digest = hashlib.sha256(canonical_json(content).encode())
    for labels in (clean, np.nan_to_num(noisy) if noisy.dtype.kind == "f" else noisy):
        digest.update(np.ascontiguousarray(labels.astype("<i8") if labels.dtype.kind in "biuf" else labels).tobytes())
    text = json.dumps({**content, "sha256": digest.hexdigest()})
    np.savez(file, header=np.array(text), clean=clean, noisy=noisy, **arrays)
    return file


def test_a_file_that_keeps_the_rules_loads(tmp_path):
    loaded = NoiseArtifact.load(crafted(tmp_path / "n.npz"))
    assert loaded.achieved_rate == 0.5 and loaded.classes == ("a", "b", "c") and loaded.noisy.tolist() == [0, 2, 2, 1]


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"noisy": np.array([0, 3, 2, 1])}, "noisy, row 1: label 3; labels go from 0 to 2"),
        ({"clean": np.array([0, 1, -1, 0])}, "clean, row 2: label -1"),
        ({"noisy": np.array([0, 1, 2, 2**64 - 1], dtype=np.uint64)}, "noisy, row 3: label 18446744073709551615"),
        ({"noisy": np.array([0.0, 2.7, 2.0, 1.0])}, "noisy has shape 4 and type float64"),
        ({"noisy": np.array([0, np.nan, 2, 1])}, "noisy has shape 4 and type float64"),
        ({"noisy": np.array([True, False, True, True])}, "type bool"),
        ({"noisy": np.array(["0", "1", "2", "0"])}, "type <U1"),
        ({"clean": CLEAN.reshape(2, 2)}, "clean has shape 2×2"),
        ({"clean": np.array(0)}, "clean has shape one value"),
        ({"noisy": NOISY[:3]}, "4 clean labels and 3 given ones"),
        ({"clean": CLEAN[:0], "noisy": NOISY[:0]}, "0 clean labels and 0 given ones"),
        ({"header": {"requested_rate": -5}}, "requested_rate is -5; it must be a number from 0 to 1"),
        ({"header": {"requested_rate": "0.5"}}, "requested_rate is 0.5"),
        ({"header": {"requested_rate": True}}, "requested_rate is True"),
        ({"header": {"seed": -1}}, "seed is -1"),
        ({"header": {"seed": 1.5}}, "seed is 1.5"),
        ({"header": {"num_classes": 0}}, "num_classes is 0"),
        ({"header": {"num_classes": 10**9}}, "num_classes is 1000000000"),
        ({"header": {"num_classes": 3.0}}, "num_classes is 3.0"),
        ({"header": {"classes": ["a"]}}, "1 names of classes for 3 classes"),
        ({"header": {"classes": "abc"}}, "classes is no list of names"),
        ({"header": {"classes": [1, 2, 3]}}, "classes is no list of names"),
        ({"header": {"kind": None}}, "kind is no text"),
        ({"header": {"more": 1}}, "its header has the keys"),
        ({"drop": ("seed",)}, "its header has the keys"),
    ],
)
def test_a_value_that_no_artifact_may_hold_is_named(tmp_path, cli, changes, message):
    file = crafted(tmp_path / "n.npz", **changes)
    with pytest.raises(UserError) as raised:
        NoiseArtifact.load(file)
    assert message in str(raised.value) and str(file) in str(raised.value) and "\n" not in str(raised.value)
    code, out, err = cli("noise", "show", file)
    assert (code, out, err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("rate", ["NaN", "Infinity", "1e999"])
def test_rates_that_are_no_numbers_of_json_are_refused(tmp_path, rate):
    file = tmp_path / "n.npz"
    text = json.dumps({**HEADER, "sha256": ""}).replace("0.5", rate)
    np.savez(file, header=np.array(text), clean=CLEAN, noisy=NOISY)
    with pytest.raises(UserError, match="requested_rate is (nan|inf); it must be a number from 0 to 1"):
        NoiseArtifact.load(file)


@pytest.mark.parametrize("text", ["[]", "7", "{", "[" * 100_000, '{"seed": ' + "9" * 5000 + "}"])
def test_headers_that_are_no_table(tmp_path, text):
    file = tmp_path / "n.npz"
    np.savez(file, header=np.array(text), clean=CLEAN, noisy=NOISY)
    with pytest.raises(UserError, match="not a noise artifact"):
        NoiseArtifact.load(file)


def test_object_arrays_and_arrays_that_claim_more_than_memory(tmp_path):
    file = tmp_path / "n.npz"
    header = np.array(json.dumps({**HEADER, "sha256": ""}))
    np.savez(file, header=header, clean=CLEAN, noisy=np.array([{}, None, 1, 2], dtype=object))
    with pytest.raises(UserError, match="not a noise artifact"):
        NoiseArtifact.load(file)
    np.savez(file, header=header, clean=CLEAN, noisy=NOISY)
    claims = io.BytesIO()
    np.lib.format.write_array_header_1_0(claims, {"descr": "<i8", "fortran_order": False, "shape": (2**50,)})
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("noisy.npy", claims.getvalue() + bytes(64))
    with pytest.raises(UserError, match="not a noise artifact"):
        NoiseArtifact.load(file)


def test_a_pipe_is_no_file_of_labels(tmp_path, cli):
    os.mkfifo(tmp_path / "n.npz")
    for arguments in (
        ("noise", "show", tmp_path / "n.npz"),
        ("noise", "make", "--noise", f"file:{tmp_path / 'n.npz'}", "--output", tmp_path / "out.npz"),
    ):
        code, _, err = cli(*arguments)
        assert code == 2 and err.count("\n") == 1 and "n.npz: no regular file" in err
