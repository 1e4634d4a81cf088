"""Writing files so that a reader never sees half of one, and JSON whose text is a function of its value."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from noisybench.core.errors import UserError, one_line

TEMPORARY = ".tmp"


@contextlib.contextmanager
def replace_file(file: Path) -> Iterator[Path]:
    """Give a temporary path beside ``file``; on success flush it to disk and rename it over ``file``.

    On an error the temporary file is removed and ``file`` stays as it was.

    Raises:
        UserError: what is there is no regular file: a link, a folder, a pipe, a device. Nothing is written then.
    """
    refuse_special(file)
    temporary = file.with_name(f".{file.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def refuse_special(file: Path) -> None:
    """Refuse to write over what is there if that is no regular file.

    Raises:
        UserError: it is a link, a folder, a pipe or a device.
    """
    try:
        mode = os.lstat(file).st_mode
    except (OSError, ValueError):  # nothing is there; or it cannot be written either, which writing will say
        return
    if not stat.S_ISREG(mode):
        kind = "a link" if stat.S_ISLNK(mode) else "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise UserError(f"{file}: {kind}, and nothing is written over that; give another name")


@contextlib.contextmanager
def open_regular(file: Path) -> Iterator[BufferedReader]:
    """A regular file, or a link to one, opened to be read: never a pipe or a device, which may have no end.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is no regular file, or cannot be opened.
    """
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):  # looked at before it is opened: opening may act on a device
            raise UserError(f"{file}: {'a folder' if os.path.isdir(file) else 'no regular file'}")
        stream = open(file, "rb")  # noqa: SIM115
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({_reason(error)})") from error
    with stream:
        yield stream


def read_regular(file: Path, most: int, *, follow: bool = True) -> bytes:
    """The content of a regular file, which has an end: never of a pipe or a device.

    Args:
        most: bytes that it may have.
        follow: a link to such a file will do too.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is no regular file, too large, or cannot be read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        status = os.stat(file, follow_symlinks=follow)  # looked at before it is opened: opening may act on a device
        if stat.S_ISLNK(status.st_mode):
            raise UserError(f"{file}: a link; only the file itself will do")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{file}: no regular file")
        descriptor = os.open(file, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
        with open(descriptor, "rb") as stream:
            status = os.fstat(descriptor)
            content = stream.read(most + 1) if stat.S_ISREG(status.st_mode) and status.st_size <= most else None
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: cannot be read ({_reason(error)})") from error
    if content is None or len(content) > most:
        raise UserError(f"{file}: {max(status.st_size, most + 1):,} bytes; it may have at most {most:,}")
    return content


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)).lower()


def remove_temporaries(folder: Path) -> None:
    """Remove what writers that were killed left in a folder. Nobody may be writing there."""
    for file in folder.glob(f".*{TEMPORARY}"):
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def reported(file: Path) -> Iterator[None]:
    """Turn an error of writing ``file`` into a line for the user: a full disk, a folder that cannot be written.

    Raises:
        UserError: names the file and the reason.
    """
    try:
        yield
    except OSError as error:
        reason = (error.strerror or one_line(error)).lower()
        raise UserError(f"{file}: cannot be written ({reason}); what was written earlier is intact") from error


def json_text(value: Any) -> str:
    """JSON as it is written here: indented, sorted keys, no NaN, ASCII, a newline at the end."""
    return json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"


def write_json(file: Path, value: Any) -> None:
    """Write JSON in one piece."""
    with replace_file(file) as temporary:
        temporary.write_text(json_text(value), encoding="utf-8")


def file_sha256(file: Path) -> str:
    """sha256 of a file's bytes, as hex digits.

    Raises:
        UserError: there is no such file, it is no regular one, or it cannot be read.
    """
    try:
        with open_regular(file) as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({_reason(error)})") from error


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
