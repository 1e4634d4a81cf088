"""Text from elsewhere shows itself and nothing more."""

from __future__ import annotations

import io
import unicodedata

import pytest
from rich.console import Console
from rich.table import Table

from noisybench.core.console import literal, printable, say


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("co-teaching 92.78 [92.24, 93.33] · ± − …", "co-teaching 92.78 [92.24, 93.33] · ± − …"),
        ("Größe 猫 кошка नमस्ते", "Größe 猫 кошка नमस्ते"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("one\ntwo\r\n\tthree\u2028four\x85five\u00a0six", "one two   three four five six"),
        ("a\u202eb\u2066c\u200fd", "a\\u202eb\\u2066c\\u200fd"),  # right to left
        ("a\u200bb\u200dc\ufeffd\u00ade", "a\\u200bb\\u200dc\\ufeffd\\xade"),  # no width
        ("a\u3164b\u115fc\u034fd\ufe0fe\U000e0041f\u2800", "a\\u3164b\\u115fc\\u034fd\\ufe0fe\\U000e0041f\\u2800"),
        ("\udcff\ud800", "\\udcff\\ud800"),  # bytes that are no text
        (b"x", "b'x'"),
        (None, "None"),
    ],
)
def test_what_cannot_be_seen_is_spelled_out(text, shown):
    assert printable(text) == shown


def test_no_character_of_unicode_steers_a_terminal():
    for code in range(0x110000):
        shown = printable(chr(code))
        assert shown.isprintable() and shown.encode("utf-8"), hex(code)
        assert unicodedata.category(shown[0])[0] != "C"
        assert len(shown) == 1 or shown.isascii()


def test_neither_markup_nor_emoji_is_read_from_it():
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=True, color_system="truecolor")
    say("[bold red]x[/] :warning: 12 \x1b[2J", console)
    table = Table()
    table.add_column(literal("[i]h[/i]"))
    table.add_row(literal("[link=x]y[/link] :cat:"))
    console.print(table)
    text = out.getvalue()
    for part in ("[bold red]x[/] :warning: 12 \\x1b[2J\n", "[i]h[/i]", "[link=x]y[/link] :cat:"):
        assert part in text
    assert "\x1b[2J" not in text
