"""The one rule for names: of methods, datasets, noises, models, heads, boards, settings, and of what a method logs."""

from __future__ import annotations

import re
import unicodedata

LONGEST = 200
# ASCII alone: no letter that looks like another, nothing without a width, nothing that steers a terminal.
NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.:+@/-]*[A-Za-z0-9_+])?")
RULE = "a name is made of A-Z, a-z, 0-9, _ and, inside, . - : + @ /"


def name_fault(name: object) -> str | None:
    """What is wrong with a name, to be said after the name itself; None if nothing is."""
    if not isinstance(name, str):
        return f"is no text; {RULE}"
    if not name:
        return f"is empty; {RULE}"
    if len(name) > LONGEST:
        return f"has {len(name)} characters; a name has at most {LONGEST}"
    if not NAME.fullmatch(name):
        return f"{_odd_character(name)}; {RULE}"
    if not {"", ".", ".."}.isdisjoint(name.split("/")):
        return "has an empty part, '.' or '..' between slashes"
    return None


def _odd_character(name: str) -> str:
    for character in name:
        if not re.fullmatch(r"[A-Za-z0-9_.:+@/-]", character):
            title = unicodedata.name(character, "a character without a name")
            return f"holds {ascii(character)} ({title})"
    return f"begins or ends with {name[0] if not NAME.match(name) else name[-1]!r}"


def file_name_fault(name: object) -> str | None:
    """What is wrong with a name that a file or folder is to have: it must not lead out of its folder."""
    fault = name_fault(name)
    if fault is None and not {"/", ":"}.isdisjoint(str(name)):
        return "holds '/' or ':', and a folder is named by it"
    return fault


def shown_name(name: object) -> str:
    """A name for people: as it is if it keeps the rule, else with every character spelled out that might deceive."""
    return str(name) if name_fault(name) is None else ascii(name)[: LONGEST + 2]
