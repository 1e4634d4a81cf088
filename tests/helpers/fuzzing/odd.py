"""Odd values, and odd versions of things that are right."""

from __future__ import annotations

import random
from typing import Any

LONG = "x" * 300
DIGITS = "9" * 5000
# Nothing here may name a place outside the working directory: what is tried may be written to.
TEXTS = [
    "",
    " ",
    LONG,
    "\udcff",
    "~nouser",
    "a/b",
    "..",
    ".",
    "-",
    "--",
    "a\nb",
    "\x1b[31m",
    "imagefolder:",
    "csv:",
    "file:",
    "imagefolder:.",
    f"imagefolder:{LONG}",
    f"csv:{LONG}",
    f"file:{LONG}",
    "csv:~nouser",
    "csv:gone.csv",
    "x:y",
    ":",
    "os:path",
    "nan",
    "inf",
    "true",
    "null",
    "[]",
    "{}",
    "[1]",
    "{a=1}",
    "'a\\u0000b'",
    "ce",
    "digits",
    "1979-05-27",
    "０",
    "ü",
    "\u202e",
    "A" * 256,
    "pipe",
    "link",
    "folder",
    "text.txt",
    "gone/x.npz",
    "x.npz",
    "x.toml",
    "digits-quick",
    "file:pipe",
    "csv:pipe",
    "symmetric",
    "resnet18.nope",
    "timm/nope",
    "somebody.module:Class",
]
NUMBERS = [
    "0",
    "-1",
    "1",
    "2",
    "6000",
    "1e3",
    "1e400",
    "0.5",
    "-0.0",
    "1_0",
    "1" + "0" * 26,
    DIGITS,
    DIGITS[:4000],
    "0x10",
    "+1",
]
SCALARS: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    2**63,
    -(2**63),
    10**400,
    0.5,
    float("nan"),
    float("inf"),
    -0.0,
    "",
    "a\0b",
    "\ud800",
    LONG,
    "\u202e",
    [],
    {},
    [[]],
    {"": 1},
    {"a": {"b": []}},
    "nan",
    "ce",
    "digits",
    "1",
]


def text(chance: random.Random) -> str:
    """A value for an option."""
    return chance.choice(TEXTS if chance.random() < 0.6 else NUMBERS)


def changed_bytes(chance: random.Random, content: bytes) -> bytes:
    """The content with some bytes changed, taken out or put in, or cut off."""
    found = bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        if not found:
            break
        place, kind = chance.randrange(len(found)), chance.random()
        if kind < 0.5:
            found[place] = chance.randrange(256)
        elif kind < 0.7:
            del found[place : place + chance.randrange(1, 20)]
        elif kind < 0.9:
            found[place:place] = bytes(chance.randrange(256) for _ in range(chance.randrange(1, 9)))
        else:
            found = found[:place]
    return bytes(found)


def changed_value(chance: random.Random, value: Any) -> Any:
    """A copy of nested dicts and lists with one or two parts replaced, taken out, put in or nested deeply."""
    for _ in range(chance.choice([1, 1, 1, 2])):
        value = _changed_once(chance, value)
    return value


def _changed_once(chance: random.Random, value: Any) -> Any:
    if isinstance(value, dict) and value and chance.random() < 0.85:
        name = chance.choice(list(value))
        kind = chance.random()
        if kind < 0.1:
            return {key: part for key, part in value.items() if key != name}
        if kind < 0.2:
            return {**value, chance.choice(["", "more", "a\0b", "\ud800", LONG]): chance.choice(SCALARS)}
        return {**value, name: _changed_once(chance, value[name])}
    if isinstance(value, list) and value and chance.random() < 0.7:
        place = chance.randrange(len(value))
        return [*value[:place], _changed_once(chance, value[place]), *value[place + 1 :]]
    if chance.random() < 0.02:
        deep: Any = value
        for _ in range(chance.choice([50, 400])):
            deep = [deep]
        return deep
    return chance.choice(SCALARS)
