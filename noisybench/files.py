"""Writing files so that a reader never sees half of one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from noisybench.errors import UserError


@contextlib.contextmanager
def replace_file(file: Path) -> Iterator[Path]:
    """Give a temporary path beside ``file``; on success flush it to disk and rename it over ``file``.

    On an error the temporary file is removed and ``file`` stays as it was.
    """
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


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
