"""Writing files so that a reader never sees half of one, and JSON whose text is a function of its value."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noisybench.core.errors import UserError, one_line

TEMPORARY = ".tmp"


@contextlib.contextmanager
def replace_file(file: Path) -> Iterator[Path]:
    """Give a temporary path beside ``file``; on success flush it to disk and rename it over ``file``.

    On an error the temporary file is removed and ``file`` stays as it was.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


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
        UserError: there is no such file, or it cannot be read.
    """
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file") from error
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror})") from error


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
