"""Files that are read and replaced are regular files."""

from __future__ import annotations

import os

import pytest

from noisybench.core.errors import UserError
from noisybench.core.files import read_regular, replace_file, write_json


@pytest.fixture
def special(tmp_path):
    """A link, a link to nowhere, a folder and a pipe, by name."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    (tmp_path / "dangling").symlink_to(tmp_path / "none")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@pytest.mark.parametrize("name", ["link", "dangling", "folder", "pipe"])
def test_nothing_is_written_over_what_is_no_regular_file(special, name):
    before = sorted(special.iterdir()), os.lstat(special / name)
    with pytest.raises(UserError, match=f"{name}: (a link|a folder|no regular file)"):
        write_json(special / name, {})
    assert (sorted(special.iterdir()), os.lstat(special / name)) == before
    assert (special / "file").read_text() == "mine"


def test_a_regular_file_is_replaced(special):
    with replace_file(special / "file") as temporary:
        temporary.write_text("new")
    assert (special / "file").read_text() == "new"


def test_only_what_has_an_end_is_read(special, tmp_path):
    for name in ("folder", "pipe"):
        with pytest.raises(UserError, match=f"{name}: no regular file"):
            read_regular(special / name, 100)
    assert read_regular(special / "link", 100) == b"mine"
    with pytest.raises(UserError, match="link: a link"):
        read_regular(special / "link", 100, follow=False)
    for name in ("dangling", "none"):
        with pytest.raises(FileNotFoundError):
            read_regular(special / name, 100)
    with pytest.raises(UserError, match="file: 4 bytes; it may have at most 3"):
        read_regular(special / "file", 3)
    assert read_regular(special / "file", 4) == b"mine"
    with open(tmp_path / "huge", "wb") as stream:
        stream.truncate(2**40)
    (tmp_path / "to-huge").symlink_to(tmp_path / "huge")
    with pytest.raises(UserError, match="1,099,511,627,776 bytes"):
        read_regular(tmp_path / "to-huge", 1_000_000)
    with pytest.raises(UserError, match="cannot be read"):
        read_regular(tmp_path / ("x" * 300), 100)
    with pytest.raises(UserError, match="cannot be read"):
        read_regular(tmp_path / "a\0b", 100)
