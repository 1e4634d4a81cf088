"""The lock of a folder writes its holder's name into no file that somebody else has put there."""

from __future__ import annotations

import os

import pytest

from noisybench.core.errors import FolderInUse, UserError
from noisybench.parallel.folder_lock import HOLDER, FolderLock


def test_the_holder_is_named(tmp_path):
    lock = FolderLock(tmp_path)
    lock.acquire()
    assert (tmp_path / HOLDER).read_text().endswith(f"process {os.getpid()}")
    lock.release()


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_no_link_is_followed_and_no_pipe_waited_for(tmp_path, kind):
    (tmp_path / "mine").write_text("mine")
    folder = tmp_path / "run"
    folder.mkdir()
    if kind == "link":
        (folder / HOLDER).symlink_to(tmp_path / "mine")
    else:
        os.mkfifo(folder / HOLDER)
    lock = FolderLock(folder)
    with pytest.raises(UserError, match="cannot be written"):
        lock.acquire()
    assert (tmp_path / "mine").read_text() == "mine"
    (folder / HOLDER).unlink()
    lock.acquire()  # it has let go in between
    lock.release()


def test_whoever_holds_it_is_told_visibly(tmp_path):
    lock = FolderLock(tmp_path)
    lock.acquire()
    (tmp_path / HOLDER).write_text("x" * 2000)
    with pytest.raises(FolderInUse, match="in use by another process"):
        FolderLock(tmp_path).acquire()
    lock.release()
