"""CIFAR's batches read without ``pickle``: what their authors wrote, and what a hostile file asks for.

No hostile pickle is ever loaded by ``pickle`` here.
"""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest

from noisybench.data.plain_pickle import NotPlain, read_plain_pickle

DATA = np.arange(24, dtype=np.uint8).reshape(2, 12)
ARRAY = (
    b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"  # an empty array
    b"(K\x01K\x02K\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R"  # its state: version, shape, type
    b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x18" + DATA.tobytes() + b"tb"  # of the type; bytes
)


def test_what_python_2_wrote():
    """The opcodes of the published batches, in their order, by hand."""
    written = b"\x80\x02}q\x00(U\x0bbatch_labelq\x01U\x03oneq\x02U\x06labelsq\x03]q\x04(K\x06K\x09e"
    written += b"U\x04dataq\x05" + ARRAY + b"U\x09filenamesq\x06]q\x07(U\x05a.pngq\x08U\x05b.pngq\x09eu."
    found = read_plain_pickle(written)
    assert found[b"labels"] == [6, 9] and found[b"filenames"] == [b"a.png", b"b.png"]
    assert found[b"data"].dtype == np.uint8 and np.array_equal(found[b"data"], DATA)


@pytest.mark.parametrize("protocol", [2, 3])
def test_what_python_3_writes(protocol):
    batch = {b"labels": [3, 255, 70000], b"data": DATA, b"ids": np.array([1, -2]), "text": "é", b"x": (1.5, None, True)}
    found = read_plain_pickle(pickle.dumps(batch, protocol=protocol))
    assert np.array_equal(found.pop(b"data"), DATA) and found.pop(b"ids").tolist() == [1, -2]
    assert found == {b"labels": [3, 255, 70000], "text": "é", b"x": (1.5, None, True)}


class Asks:
    """Pickled as a call."""

    def __init__(self, *call):
        self._call = call

    def __reduce__(self):
        return self._call


def hostile() -> dict[str, bytes]:
    objects = ARRAY.replace(b"U\x02u1", b"U\x02O8")
    state = b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    fields = state.replace(b"|NNN", b"|N}N")
    return {
        "a command": pickle.dumps({b"data": Asks(os.system, ("true",))}, protocol=2),
        "eval": pickle.dumps(Asks(eval, ("1",)), protocol=2),
        "by its name on the stack": pickle.dumps(Asks(eval, ("1",)), protocol=4),
        "an extension": b"\x80\x02\x82\x01.",
        "a persistent id": b"\x80\x02U\x01aQ.",
        "an instance": b"\x80\x02(cos\nsystem\no.",
        "an instance by name": b"(ios\nsystem\n.",
        "a new object": b"\x80\x02cnumpy\nndarray\n)\x81.",
        "an array of objects": b"\x80\x02" + objects + b".",
        "an array of objects by its state": b"\x80\x02" + ARRAY.replace(b"U\x01|", b"U\x01O", 1) + b".",
        "a type with fields": b"\x80\x02" + ARRAY.replace(state, fields) + b".",
        "a type with flags": b"\x80\x02" + ARRAY.replace(b"\xff\xff\xff\xffK\x00tb", b"\xff\xff\xff\xffK\x3ftb") + b".",
        "a state for a dict": b"\x80\x02}}b.",
        "a state for a class": b"\x80\x02cnumpy\nndarray\n}b.",
        "too few bytes": b"\x80\x02" + ARRAY.replace(b"K\x02K\x0c\x86", b"K\x7fK\x7f\x86") + b".",
        "a shape of text": b"\x80\x02" + ARRAY.replace(b"K\x02K\x0c\x86", b"U\x01aK\x0c\x86") + b".",
        "bytes that are a list": b"\x80\x02" + ARRAY.replace(b"U\x18" + DATA.tobytes(), b"]") + b".",
        "an array of no state": b"\x80\x02" + ARRAY[: ARRAY.index(b"(")] + b".",
        "dtype of a class": b"\x80\x02cnumpy\ndtype\ncnumpy\nndarray\n\x85R.",
        "another codec": b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.",
        "numpy's loader": b"\x80\x02cnumpy\nload\nU\x01a\x85R.",
        "items for a tuple": b"\x80\x02)K\x01a.",
        "nothing": b"",
        "no end": b"\x80\x02}",
        "an empty stack": b"\x80\x02.",
        "no mark": b"\x80\x02e.",
        "a place that is not there": b"\x80\x02h\x05.",
        "text": b"hello",
        "cut": b"\x80\x02" + ARRAY[:-30],
    }


@pytest.mark.parametrize("what", hostile())
def test_everything_else_is_refused(what):
    with pytest.raises(NotPlain):
        read_plain_pickle(hostile()[what])


def test_no_piece_of_a_batch_makes_anything_but_plain_data():
    """Every batch with one byte changed is refused, or is made of plain data all the same."""
    whole = b"\x80\x02}q\x00(U\x06labels]q\x02(K\x06K\x09eU\x04data" + ARRAY + b"u."
    drawn = np.random.default_rng(0)
    plain = (dict, list, tuple, bytes, str, int, float, bool, type(None), np.ndarray)
    refused = 0
    for _ in range(3000):
        changed = bytearray(whole)
        changed[drawn.integers(len(whole))] = drawn.integers(256)
        try:
            found = read_plain_pickle(bytes(changed))
        except NotPlain:
            refused += 1
            continue
        values = [found, *(found.values() if isinstance(found, dict) else [])]
        for value in values:
            assert isinstance(value, plain), type(value)
            assert not isinstance(value, np.ndarray) or value.dtype in (np.uint8, np.int64)
    assert 500 < refused < 3000
