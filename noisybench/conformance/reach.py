"""What can be reached from a method: attributes, containers, closures, classes, and the globals that its code names."""

from __future__ import annotations

import array
import collections
import functools
import sys
import sysconfig
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from noisybench.parallel.world import World

MOST = 200_000  # values looked at
PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None), np.generic, array.array, range)
LEAVES = (*PLAIN, World, torch.device, torch.dtype, np.ndarray, np.dtype, np.random.Generator)
LIBRARIES = tuple(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib"))


def reachable(method: Any) -> Iterator[tuple[str, Any, bool]]:
    """Every value that leads from a method to others, nearest first.

    Follows attributes, containers, closures, bound methods, partials, the classes that are not a library's, and of
    such code the globals and modules' attributes that it names.

    Yields:
        a dotted name, the value, and whether the method holds it: a global or a class's attribute it merely names.
    """
    own = _own_packages(type(method))
    seen: set[int] = set()
    kept = []  # so that no id is given to another value
    queue = collections.deque([("method", method, True)])
    while queue and len(seen) < MOST:
        place, value, held = queue.popleft()
        if id(value) in seen and not isinstance(value, PLAIN):
            continue
        seen.add(id(value))
        kept.append(value)
        yield place, value, held
        queue.extend((f"{place}.{name}", part, held and here) for name, part, here in _parts(value, own))


def _own_packages(method_class: type) -> set[str]:
    """The modules, or packages of others, that a method's classes are written in."""
    modules = {found.__module__ for found in method_class.__mro__} - {"builtins", "noisybench.methods.base"}
    return {name if _top(name) == "noisybench" else _top(name) for name in modules}


def _top(module: str) -> str:
    return module.partition(".")[0]


def is_library(module: str, own: set[str]) -> bool:
    """Whether a module is neither the method's own nor a user's."""
    if module in own or _top(module) in own:
        return False
    if _top(module) in ("noisybench", "builtins") or _top(module) in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or file.startswith(LIBRARIES) or "site-packages" in file


def _parts(value: Any, own: set[str]) -> Iterator[tuple[str, Any, bool]]:
    """The values that one leads to: name, value, and whether it is held rather than named."""
    if isinstance(value, Tensor):
        yield from ((name, part, True) for name, part in vars(value).items())
    elif isinstance(value, (*LEAVES, types.ModuleType)):
        return
    elif isinstance(value, type):
        if not is_library(value.__module__, own):
            yield from ((name, part, False) for name, part in vars(value).items() if not name.startswith("__"))
            yield from ((base.__name__, base, False) for base in value.__bases__)
    elif isinstance(value, types.FunctionType):
        yield from _of_function(value, own)
    elif isinstance(value, collections.abc.Mapping):
        for number, (key, part) in enumerate(value.items()):
            yield (str(key) if isinstance(key, str | int) else str(number)), part, True
            if not isinstance(key, PLAIN):
                yield f"key {number}", key, True
    elif isinstance(value, list | tuple | set | frozenset | collections.deque):
        if not all(isinstance(item, PLAIN) for item in value):
            yield from ((str(number), part, True) for number, part in enumerate(value))
    elif isinstance(value, types.MethodType):
        yield from (("self", value.__self__, True), ("function", value.__func__, True))
    elif isinstance(value, staticmethod | classmethod):
        yield "function", value.__func__, True
    elif isinstance(value, property):
        yield from (("get", value.fget, True), ("set", value.fset, True))
    elif isinstance(value, functools.partial):
        yield from (("func", value.func, True), ("args", value.args, True), ("keywords", value.keywords, True))
    elif isinstance(value, types.GeneratorType):
        if value.gi_frame is not None:
            yield from ((name, part, True) for name, part in value.gi_frame.f_locals.items())
    else:
        yield from _of_object(value, own)


def _of_object(value: Any, own: set[str]) -> Iterator[tuple[str, Any, bool]]:
    attributes = dict(getattr(value, "__dict__", {}))
    if isinstance(value, nn.Module):  # by the names that they are read by
        for table in ("_parameters", "_buffers", "_modules"):
            attributes |= attributes.pop(table, {})
    slots = [name for found in type(value).__mro__ for name in _slots(found)]
    attributes |= {name: getattr(value, name) for name in slots if hasattr(value, name)}
    yield from ((name, part, True) for name, part in attributes.items())
    if not is_library(type(value).__module__, own):
        yield f"{type(value).__name__}", type(value), False
    for name in ("__self__", "__wrapped__"):
        if name not in attributes and (part := getattr(value, name, None)) is not None:
            yield name, part, True


def _slots(found: type) -> tuple[str, ...]:
    slots = vars(found).get("__slots__", ())
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _of_function(function: types.FunctionType, own: set[str]) -> Iterator[tuple[str, Any, bool]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents, True
        except ValueError:  # not filled yet
            continue
    yield from (
        (name, part, True) for name, part in vars(function).items()
    )  # what is set on it, with __wrapped__ of a decorated one
    yield "defaults", function.__defaults__, True
    yield "defaults by name", function.__kwdefaults__, True
    if is_library(function.__module__ or "builtins", own):
        return
    names = set(_names(function.__code__))
    for name in sorted(names):
        found = function.__globals__.get(name, sys.modules.get(name))
        if isinstance(found, types.ModuleType):
            read = sorted(names & vars(found).keys())
            parts = [(f"{name}.{attribute}", vars(found)[attribute]) for attribute in read]
        else:
            parts = [(name, found)]
        yield from ((place, part, False) for place, part in parts if part is not None and not _is_code(part, own))


def _is_code(value: Any, own: set[str]) -> bool:
    """Whether it is a library's function or class, or a module."""
    if isinstance(value, types.ModuleType):
        return True
    is_code = isinstance(value, type | types.FunctionType | types.BuiltinFunctionType)
    return is_code and is_library(value.__module__ or "builtins", own)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


KINDS = (list, tuple, set, frozenset, dict, bytes, bytearray, np.ndarray, Tensor, functools.partial)


def modules_values() -> dict[tuple[str, str], Any]:
    """The data that modules hold as attributes, by module and name."""
    return {
        (module, name): value
        for module, found in list(sys.modules.items())
        if type(found) is types.ModuleType
        for name, value in list(vars(found).items())
        if issubclass(type(value), KINDS) and not name.startswith("__")
    }
