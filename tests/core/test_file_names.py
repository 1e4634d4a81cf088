"""File names as text: written so that they can be read back, shown so that a line stays a line."""

from __future__ import annotations

import os

import numpy as np
import pytest

from noisybench.core.file_names import composed, read_name, shown_file, spellings, written_name

WRITTEN = {
    b"plain.jpg": "plain.jpg",
    "café.jpg".encode(): "café.jpg",
    b"caf\xe9.jpg": "caf\\xe9.jpg",  # Latin-1
    b"a\\b.jpg": "a\\b.jpg",
    b"a\\xe9.jpg": "a\\\\xe9.jpg",  # not to be taken for the one before last
    b"a\\\xe9.jpg": "a\\\\\\xe9.jpg",
    b"a\nb.jpg": "a\nb.jpg",
}


@pytest.mark.parametrize("raw", WRITTEN)
def test_names_are_written_so_that_they_can_be_read_back(raw):
    assert written_name(raw) == WRITTEN[raw]
    assert os.fsencode(read_name(WRITTEN[raw])) == raw
    WRITTEN[raw].encode("utf-8")  # it can be written anywhere


def test_no_two_names_are_written_alike():
    drawn = np.random.default_rng(0)
    pieces = [b"a", b"\\", b"\\x", b"e9", b"\xe9", b"x", "é".encode()]
    names = {b"".join(pieces[piece] for piece in drawn.integers(0, len(pieces), 6)) for _ in range(5000)}
    assert len({written_name(name) for name in names}) == len(names)
    assert all(os.fsencode(read_name(written_name(name))) == name for name in names)


def test_names_are_shown_on_one_line_and_told_apart():
    assert shown_file("a\nb\x1b[31m\u202ec.jpg") == "a\\nb\\x1b[31m\\u202ec.jpg"
    assert shown_file(b"caf\xe9") == "caf\\xe9"
    assert shown_file("café") == "café" and shown_file("cafe\u0301") == "cafe\\u0301"


def test_forms_of_a_name():
    assert composed("cafe\u0301") == "café"
    assert spellings("café") == ["café", "cafe\u0301"]
    assert spellings("caf\\xe9") == ["caf\\xe9", os.fsdecode(b"caf\xe9")]
