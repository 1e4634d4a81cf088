"""CIFAR from its original archives: order, both versions, and a pickle that wants to run code."""

from __future__ import annotations

import os
import pickle
import tarfile

import numpy as np
import pytest
import small_sets
import torch

from noisybench.core.errors import UserError
from noisybench.data import load_dataset, order_fingerprint
from noisybench.data.plain_pickle import read_plain_pickle
from noisybench.spec import registry

DRAWN = np.random.default_rng(0)
PIXELS = DRAWN.integers(0, 256, (6, 10, 3072), dtype=np.uint8)
LABELS = DRAWN.integers(0, 10, (6, 10))


@pytest.fixture
def binary(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for number, name in enumerate([*(f"data_batch_{n}.bin" for n in range(1, 6)), "test_batch.bin"]):
        records = np.concatenate([LABELS[number, :, None].astype(np.uint8), PIXELS[number]], axis=1)
        (folder / name).write_bytes(records.tobytes())
    return folder


@pytest.fixture
def python(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for number, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        batch = {b"batch_label": b"x", b"labels": LABELS[number].tolist(), b"data": PIXELS[number]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


@pytest.fixture(autouse=True)
def _card(small_set, monkeypatch):
    monkeypatch.setattr(small_sets, "made", small_set, raising=False)


def load(path, train=50, test=10):
    name = small_sets.made("cifar10", train=train, test=test)
    return load_dataset(registry.dataset_card(name), data_path=path, image_size=None, limit_train=None)


def test_both_versions_keep_the_archives_order(binary, python, tmp_path):
    tar = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(tar, "w:gz") as archive:
        archive.add(python, "cifar-10-batches-py")
    expected = torch.from_numpy(PIXELS[:5].reshape(50, 3, 32, 32))
    for path in (binary, python, tar, binary.parent):
        found = load(path)
        assert torch.equal(found.train.pixels[:], expected)
        assert (found.train.labels == LABELS[:5].reshape(-1)).all() and (found.test.labels == LABELS[5]).all()


def test_python_2s_pickles_are_read():
    """CIFAR's batches were written by Python 2: byte strings, and NumPy's callables under their old module."""
    written = (
        b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01K\x02\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xff"
        b"K\x00tb\x89U\x02\x07\x09tbs."
    )
    found = read_plain_pickle(written)
    assert found[b"data"].tolist() == [[7, 9]] and found[b"data"].dtype == np.uint8


def test_a_pickle_cannot_run_code(python, tmp_path):
    class Attack:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    (python / "data_batch_3").write_bytes(pickle.dumps({b"data": Attack()}))
    with pytest.raises(UserError, match=r"data_batch_3: not a CIFAR batch .*asks for posix.mkdir"):
        load(python)
    assert not (tmp_path / "harm").exists()


WRONG_BATCHES = {
    "labels that are no whole numbers": ({b"labels": [3.7] * 10}, "the labels are no list of whole numbers"),
    "labels that are an array": ({b"labels": LABELS[0]}, "the labels are no list of whole numbers"),
    "truth values": ({b"labels": [True] * 10}, "the labels are no list of whole numbers"),
    "no labels": ({b"labels": None}, "the labels are no list of whole numbers"),
    "pixels of another type": ({b"data": PIXELS[0].astype(np.int64)}, r"data of shape \(10, 3072\) and type int64"),
    "too few pixels": ({b"data": PIXELS[0][:, :-1]}, r"data of shape \(10, 3071\)"),
    "floats": ({b"data": PIXELS[0].astype(np.float32)}, "an array of type 'f4'"),
    "no pixels": ({b"data": "none"}, "no attribute 'dtype'"),
}


@pytest.mark.parametrize("what", WRONG_BATCHES)
def test_a_wrong_batch_is_named(python, what):
    changed, message = WRONG_BATCHES[what]
    batch = {b"labels": LABELS[2].tolist(), b"data": PIXELS[2]} | changed
    (python / "data_batch_3").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(UserError, match=f"cifar-10-batches-py/data_batch_3: not a CIFAR batch .*{message}"):
        load(python)


def test_an_archive_cut_at_the_end_of_a_record_is_refused(binary):
    file = binary / "data_batch_4.bin"
    file.write_bytes(file.read_bytes()[: 5 * 3073])
    with pytest.raises(UserError, match=r"45 train images, and the card of small-cifar10 promises 50: get it whole"):
        load(binary)


def test_a_shorter_batch_of_the_python_version_is_refused(python):
    batch = {b"labels": LABELS[5][:4].tolist(), b"data": PIXELS[5][:4]}
    (python / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(UserError, match="4 test images, and the card of small-cifar10 promises 10"):
        load(python)


@pytest.mark.parametrize("form", ["", ":gz", ":xz", ":bz2"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.85])
def test_a_cut_archive_is_one_line(binary, tmp_path, form, share, cli):
    """A cut gzip file ends a program of click with nothing but "Aborted!"."""
    whole, cut = tmp_path / "whole.tar", tmp_path / "cut.tar"
    with tarfile.open(whole, f"w{form}") as archive:
        archive.add(binary, "cifar-10-batches-bin")
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    name = small_sets.made("cifar10", train=50, test=10)
    code, out, err = cli("run", "--dataset", name, "--data-path", cut, "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and "Aborted" not in err, err
    assert f"{cut}: damaged or cut off" in err or f"{cut}: cifar-10-batches-bin/" in err or "no archive of" in err, err
    assert not (tmp_path / "run").exists()
    code, out, err = cli("data", "verify", name, "--data-path", cut)
    assert code == 2 and "  problem: " in out and not err


def test_what_is_missing_of_an_archive_is_named(binary, tmp_path):
    (binary / "test_batch.bin").unlink()
    with pytest.raises(UserError, match="test_batch.bin: cannot be read .no such file"):
        load(binary)
    with tarfile.open(tmp_path / "part.tar.gz", "w:gz") as archive:
        archive.add(binary, "./cifar-10-batches-bin")
    with pytest.raises(UserError, match="part.tar.gz: cifar-10-batches-bin/test_batch.bin is missing"):
        load(tmp_path / "part.tar.gz")


def test_cifar10n_is_read_from_the_same_archives(binary):
    name = small_sets.made("cifar10n", train=50, test=10)
    found = load_dataset(registry.dataset_card(name), data_path=binary, image_size=None, limit_train=None)
    assert (found.train.labels == LABELS[:5].reshape(-1)).all()


def test_damage_is_named(binary):
    (binary / "data_batch_2.bin").write_bytes(b"\x00" * 3074)
    with pytest.raises(UserError, match="data_batch_2.bin: 3074 bytes are no whole number of 3073-byte records"):
        load(binary)
    (binary / "data_batch_2.bin").write_bytes(b"\x0b" + b"\x00" * 3072)
    with pytest.raises(UserError, match="1 labels are outside 0..9, the first 11 in row 10"):
        load(binary)
    (binary / "data_batch_2.bin").unlink()
    with pytest.raises(UserError, match="data_batch_2.bin: cannot be read"):
        load(binary)


def test_the_order_fingerprint_sees_a_reordering():
    labels = np.array([3, 1, 2])
    assert order_fingerprint(labels) == order_fingerprint(labels.astype(np.int32))
    assert order_fingerprint(labels) != order_fingerprint(labels[::-1].copy())


def test_the_cards_orders_are_those_of_the_human_labels(shared):
    """The labels that CIFAR-N ships with are the clean labels in torchvision's order."""
    for name, folder in (("cifar10", "cifar10n"), ("cifar100", "cifar100n")):
        with np.load(shared / "data" / folder / "labels.npz") as stored:
            clean = stored["clean"].astype(np.int64)
        assert order_fingerprint(clean) in registry.dataset_card(name).orders
