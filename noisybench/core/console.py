"""Standard output and standard error, and the one way that text from elsewhere gets there."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # imported where it is used: the command line starts without it
    from rich.console import Console
    from rich.text import Text


def console(*, outlives_reader: bool = False) -> Console:
    """Standard output: in colour and as wide as the terminal, plain and unwrapped (200 columns) elsewhere.

    Args:
        outlives_reader: what is told here goes on when nobody reads it any more, as after ``| head``: one line to
            standard error says so. Else the command ends then.
    """
    from rich.console import Console

    class Lasting(Console):
        def on_broken_pipe(self) -> None:
            self.quiet = True
            silence(sys.stdout)
            complain("noisybench: nobody reads standard output any more; the work goes on without telling")

    kind = Lasting if outlives_reader else Console
    out = kind()
    return out if out.is_terminal else kind(width=200)


def silence(stream: object) -> None:
    """Send what is still written to a stream nowhere: also what it holds back, which would raise at the very end."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # type: ignore[attr-defined]
        os.close(nowhere)


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
    try:
        print(printable(line), file=sys.stderr, flush=True)
    except BrokenPipeError:  # nobody reads it; what the command comes to is not to depend on that
        silence(sys.stderr)
