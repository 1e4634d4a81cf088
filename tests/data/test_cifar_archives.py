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
