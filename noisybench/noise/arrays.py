"""Reading NumPy files that users give: no pickles, and one clear line for whatever is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError, one_line
from noisybench.core.files import open_regular

UNNAMED = ""


def read_arrays(file: Path, what: str, source: str = "") -> dict[str, np.ndarray]:
    """All arrays of an npz by name, or the one of an npy under :data:`UNNAMED`.

    Args:
        what: what the file should be, for the error, e.g. ``"a noise artifact"``.
        source: where to get such a file, for the error if there is none.

    Raises:
        UserError: the file is missing, damaged or no NumPy file.
    """
    try:
        with open_regular(file) as stream:
            stored = np.load(stream, allow_pickle=False)
            if isinstance(stored, np.ndarray):
                return {UNNAMED: stored}
            return dict(stored)
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file" + (f"; {source}" if source else "")) from error
    except Exception as error:  # zip, zlib, NumPy and memory have many kinds for what can be wrong with a file
        raise UserError(f"{file}: not {what} ({one_line(error)[:150]})") from error
