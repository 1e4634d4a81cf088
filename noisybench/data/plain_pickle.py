"""CIFAR's python batches without ``pickle``: an own reader of the few opcodes that they are written in.

A pickle is a program for a small machine that can call any function. The batches need dicts, lists, tuples, strings,
numbers and NumPy arrays of numbers; here those are built by hand from the opcodes that :mod:`pickletools` takes apart,
nothing is called, and everything else is refused. An array is what its bytes say: no state reaches a NumPy object.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

ARRAY = ("numpy", "ndarray")
DTYPE = ("numpy", "dtype")
MAKE_ARRAY = (("numpy.core.multiarray", "_reconstruct"), ("numpy._core.multiarray", "_reconstruct"))
ENCODE = ("_codecs", "encode")  # how Python 3 writes bytes under protocol 2
KNOWN = {ARRAY, DTYPE, *MAKE_ARRAY, ENCODE}
NUMBERS = {"u1": np.uint8, "|u1": np.uint8, "i8": np.int64, "<i8": np.int64}
PLAIN = (None, None, None, -1, -1, 0)  # what the state of a dtype without fields says after version and byte order


class NotPlain(ValueError):
    """A pickle holds something that is not read."""


@dataclass(frozen=True)
class _Name:
    """A function or class that the pickle names."""

    module: str
    name: str

    @property
    def key(self) -> tuple[str, str]:
        return self.module, self.name


@dataclass
class _Dtype:
    code: str


@dataclass
class _Array:
    """An array to be: its state comes later."""

    values: np.ndarray | None = None


class _Mark:
    """Where a list of arguments begins on the stack."""


def read_plain_pickle(content: bytes) -> Any:
    """The object that a pickle of plain data describes; strings of Python 2 come as bytes.

    Raises:
        NotPlain: it asks for anything else, or is damaged.
    """
    machine = _Machine()
    try:
        for opcode, argument, _ in pickletools.genops(content):
            if opcode.name == "STOP":
                return _finished(machine.pop())
            machine.do(opcode.name, argument)
    except NotPlain:
        raise
    except Exception as error:  # a damaged pickle raises nearly anything
        raise NotPlain(f"damaged: {error}") from error
    raise NotPlain("damaged: it has no end")


class _Machine:
    def __init__(self):
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self._stack.pop()

    def do(self, name: str, argument: Any) -> None:
        """Do what one opcode says."""
        if name in PUSHED:
            self._stack.append(PUSHED[name](argument))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self._stack.append(self._memo[argument])
        elif name in TUPLES:
            size = TUPLES[name]
            items = self._since_mark() if size is None else [self._stack.pop() for _ in range(size)][::-1]
            self._stack.append(tuple(items))
        elif name in ("APPEND", "APPENDS"):
            items = [self._stack.pop()] if name == "APPEND" else self._since_mark()
            self._top(list).extend(items)
        elif name in ("SETITEM", "SETITEMS"):
            items = [self._stack.pop(), self._stack.pop()][::-1] if name == "SETITEM" else self._since_mark()
            self._top(dict).update(zip(items[::2], items[1::2], strict=True))
        elif name == "STACK_GLOBAL":
            title, module = self._stack.pop(), self._stack.pop()
            self._stack.append(_known(f"{module} {title}"))
        elif name == "REDUCE":
            arguments, function = self._stack.pop(), self._stack.pop()
            self._stack.append(_call(function, arguments))
        elif name == "BUILD":
            state = self._stack.pop()
            _build(self._stack[-1], state)
        elif name not in ("PROTO", "FRAME"):
            raise NotPlain(f"opcode {name}, which plain data does not need")

    def _since_mark(self) -> list[Any]:
        items = []
        while not isinstance(self._stack[-1], _Mark):
            items.append(self._stack.pop())
        self._stack.pop()
        return items[::-1]

    def _top(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise NotPlain(f"items for something that is no {kind.__name__}")
        return self._stack[-1]


def _latin(text: str) -> bytes:
    return text.encode("latin-1")  # as pickletools reads the bytes of Python 2's strings


def _same(value: Any) -> Any:
    return value


def _known(text: str) -> _Name:
    found = _Name(*text.split(" ", 1))
    if found.key not in KNOWN:
        raise NotPlain(f"it asks for {found.module}.{found.name}, which plain data does not need")
    return found


PUSHED: dict[str, Callable[[Any], Any]] = {
    "MARK": lambda _: _Mark(),
    "NONE": lambda _: None,
    "NEWTRUE": lambda _: True,
    "NEWFALSE": lambda _: False,
    "EMPTY_DICT": lambda _: {},
    "EMPTY_LIST": lambda _: [],
    "EMPTY_TUPLE": lambda _: (),
    "GLOBAL": _known,
    "BINSTRING": _latin,
    "SHORT_BINSTRING": _latin,
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"), _same),
    **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"), _same),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT"), _same),
}
TUPLES = {"TUPLE": None, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _call(function: Any, arguments: Any) -> Any:
    """What the known functions would give for the arguments that plain data has."""
    key = function.key if isinstance(function, _Name) else None
    if key in MAKE_ARRAY and isinstance(arguments[0], _Name) and arguments[0].key == ARRAY:
        return _Array()
    if key == DTYPE:
        code = arguments[0]
        code = code.decode("latin-1") if isinstance(code, bytes) else code
        if code in NUMBERS:
            return _Dtype(code)
        raise NotPlain(f"an array of type {code!r}; only bytes and whole numbers of 64 bits are read")
    if key == ENCODE and isinstance(arguments[0], str) and arguments[1:] in (("latin1",), ("latin-1",)):
        return arguments[0].encode("latin-1")
    raise NotPlain("it calls something, which plain data does not need")


def _build(target: Any, state: Any) -> None:
    """Give an array its shape, type and bytes."""
    if isinstance(target, _Dtype):
        if tuple(state[2:8]) != PLAIN or state[1] not in ("|", "<", b"|", b"<"):
            raise NotPlain("an array of a type with fields or another byte order")
        return
    if not isinstance(target, _Array):
        raise NotPlain("a state for something that has none")
    _, shape, dtype, is_fortran, content = state
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes) or is_fortran not in (False, 0):
        raise NotPlain("an array that is no plain block of numbers")
    target.values = np.frombuffer(content, dtype=NUMBERS[dtype.code]).reshape([int(size) for size in shape])


def _finished(found: Any) -> Any:
    """The object with arrays in the places of what was to become one."""
    if isinstance(found, dict):
        return {key: _finished(value) if not isinstance(value, dict) else value for key, value in found.items()}
    if isinstance(found, _Name | _Dtype | _Mark) or (isinstance(found, _Array) and found.values is None):
        raise NotPlain("a part of an array, and not the whole")
    return found.values if isinstance(found, _Array) else found
