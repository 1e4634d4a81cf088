"""Reading NumPy files that users give: no pickles, and one clear line for whatever is wrong with them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from noisybench.core.errors import UserError

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
        stored = np.load(file, allow_pickle=False)
        if isinstance(stored, np.ndarray):
            return {UNNAMED: stored}
        with stored:
            return dict(stored)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such file" + (f"; {source}" if source else "")) from error
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f"{file}: not {what} ({' '.join(str(error).split())[:150]})") from error
