"""File names as text: names that are no UTF-8, and names that would upset a terminal or look like another."""

from __future__ import annotations

import os
import re
import unicodedata

_LOOKS_ESCAPED = re.compile(r"\\x[0-9a-f]{2}|\\\\")


def written_name(name: str | bytes) -> str:
    """A file name as it is written to files: itself where it is UTF-8, else with its odd bytes as ``\\xNN``.

    No two names are written alike: in a name with an odd byte, or one that looks as if it had been written so, a
    backslash is written twice. :func:`read_name` is the way back.
    """
    raw = os.fsencode(name)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    return text.replace("\\", "\\\\") if _LOOKS_ESCAPED.search(text) else text


def read_name(text: str) -> str:
    """The file name (with surrogate escapes, as Python names files) that was written so."""
    if not _LOOKS_ESCAPED.search(text):
        return text
    parts = re.split(r"(\\x[0-9a-f]{2}|\\\\)", text)
    raw = b"".join(_unescaped(part) if number % 2 else part.encode("utf-8") for number, part in enumerate(parts))
    return os.fsdecode(raw)


def _unescaped(part: str) -> bytes:
    return b"\\" if part == "\\\\" else bytes([int(part[2:], 16)])


def shown_file(name: str | bytes) -> str:
    """A file name for a message: one line, no control or direction marks, and told from a name that looks like it.

    A name that is not in Unicode's composed form (NFC) is shown in ASCII: ``cafe\\u0301`` beside ``café``.
    """
    text = written_name(name)
    if not unicodedata.is_normalized("NFC", text):
        return text.encode("ascii", "backslashreplace").decode("ascii")
    return escaped(text)


def escaped(text: str) -> str:
    """The text with an escape for every character that would not be seen, or would upset a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def composed(text: str) -> str:
    """The text in Unicode's composed form (NFC), in which names are compared: file systems and people write both."""
    return unicodedata.normalize("NFC", text)


def spellings(text: str) -> list[str]:
    """What a file may be called that a list names so: the same, another form of its letters, odd bytes read back."""
    return list(dict.fromkeys([text, composed(text), unicodedata.normalize("NFD", text), read_name(text)]))
