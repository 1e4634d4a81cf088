"""NumPy arrays of whole numbers in a file of torch's, read so that no state in the file reaches a NumPy object.

``weights_only`` refuses what is not allowed by name; what is allowed here are stand-ins, which build an array from its
bytes alone. (The state of a real dtype can say that its bytes are pointers.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from noisybench.core.files import open_regular

CODES = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8")
PLAIN = (None, None, None, -1, -1, 0)  # what the state of such a dtype says after version and byte order
CORES = ("numpy.core", "numpy._core")  # the module's names before and since NumPy 2


class _Dtype:
    def __init__(self, code: str, align: bool = False, copy: bool = True):
        if code not in CODES:
            raise ValueError(f"an array of type {code!r}")
        self.code = code

    def __setstate__(self, state: tuple) -> None:
        order, *rest = state[1:]
        if order not in ("<", ">", "|") or tuple(rest) != PLAIN:
            raise ValueError("a type with a state of its own")
        self.code = order + self.code


class _Array:
    values: np.ndarray = np.zeros(0, np.int64)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, _, content = state
        if not isinstance(dtype, _Dtype) or not isinstance(content, bytes) or len(shape) != 1:
            raise ValueError("an array that is no row of whole numbers")
        values = np.frombuffer(content, np.dtype(dtype.code))
        if values.shape != tuple(shape):
            raise ValueError(f"{len(values)} numbers where {shape[0]} should be")
        self.values = values


def _make_array(kind: type, shape: object, code: object) -> _Array:
    return _Array()


def _scalar(dtype: _Dtype, content: bytes) -> int:
    return int(np.frombuffer(content, np.dtype(dtype.code))[0])


def read_torch_arrays(file: Path) -> dict[str, Any]:
    """The file's table: arrays (N integers, of the file's own type) by name, tensors and lists as they are.

    Raises:
        FileNotFoundError: there is no such file.
        UserError: it is no regular file.
        Exception: of many kinds: it holds something else.
    """
    import torch

    allowed: list[Any] = [(_Array, "numpy.ndarray"), (_Dtype, "numpy.dtype")]
    for core in CORES:
        allowed += [(_make_array, f"{core}.multiarray._reconstruct"), (_scalar, f"{core}.multiarray.scalar")]
    with torch.serialization.safe_globals(allowed), open_regular(file) as stream:
        found = torch.load(stream, map_location="cpu", weights_only=True)
    if not isinstance(found, dict):
        raise ValueError(f"a {type(found).__name__}, not a table of arrays")
    return {name: value.values if isinstance(value, _Array) else value for name, value in found.items()}
