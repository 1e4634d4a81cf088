"""Standard output and standard error, and the one way that text from elsewhere gets there."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where it is used: the command line starts without it
    from rich.console import Console
    from rich.text import Text


def console() -> Console:
    """Standard output: in colour and as wide as the terminal, plain and unwrapped (200 columns) elsewhere."""
    from rich.console import Console

    out = Console()
    return out if out.is_terminal else Console(width=200)


# Letters and marks that show nothing although Unicode calls them printable ("default ignorable" and the blank Braille).
UNSEEN = {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0}
UNSEEN |= {*range(0x180B, 0x1810), *range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)}


def printable(text: object) -> str:
    """Text from records, cards, files or other programs as one line that only shows itself.

    All white space becomes a space. What would steer a terminal, change the direction of writing, take no room or stand
    for a byte that is no text is spelled out: ``\\x1b``, ``\\u202e``, ``\\udcff``.
    """
    text = str(text)
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isspace():
        return " "
    if character.isprintable() and ord(character) not in UNSEEN:
        return character
    return character.encode("unicode_escape").decode("ascii")


def literal(text: object, style: str = "") -> Text:
    """Text from elsewhere for rich, as a cell, a heading or a line: :func:`printable`, and neither markup nor emoji."""
    from rich.text import Text

    return Text(printable(text), style=style)


def say(line: object, out: Console | None = None) -> None:
    """Print one line that may hold text from elsewhere.

    Args:
        out: where to; standard output if not given.
    """
    (out or console()).print(literal(line), highlight=False, soft_wrap=True)


def complain(line: object) -> None:
    """Print one line that may hold text from elsewhere to standard error."""
    print(printable(line), file=sys.stderr, flush=True)
