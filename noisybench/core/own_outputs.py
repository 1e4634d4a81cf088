"""Files that a command writes where the user says: each bears a mark, and nothing else is written over unasked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from noisybench.core.errors import UserError
from noisybench.core.files import refuse_special

HEAD = 4096  # bytes, within which the mark lies


@dataclass(frozen=True)
class OwnOutput:
    """One kind of such files.

    Attributes:
        option: of the command, for messages, e.g. ``"--png"``.
        mark: what the first bytes of every file of the kind hold; empty where none is ever written over unasked.
    """

    option: str
    mark: str = ""

    def refuse_foreign(self, file: Path, *, force: bool = False) -> None:
        """Refuse to write over what this tool did not write. To be asked before the work whose result it is.

        Args:
            force: any regular file may be written over.

        Raises:
            UserError: such a file is there, or no regular file at all, or nothing can be there.
        """
        try:
            refuse_special(file)
            os.lstat(file)
            if force or self._is_ours(file):
                return
        except FileNotFoundError:
            return
        except OSError as error:
            raise UserError(f"{self.option} {file}: cannot be written ({error.strerror})") from error
        why = "exists and was not written by this command" if self.mark else "exists"
        raise UserError(f"{self.option} {file}: {why}; give a new name, or add --force")

    def _is_ours(self, file: Path) -> bool:
        if not self.mark:
            return False
        with open(file, "rb") as stream:
            return self.mark.encode() in stream.read(HEAD)

    def png_text(self) -> Any:
        """The mark as Pillow puts it into a PNG (its ``pnginfo``)."""
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_text("Software", self.mark)
        return text


HEAT_MAP = OwnOutput("--png", "noisybench heat map")
CONTACT_SHEET = OwnOutput("--output", "noisybench contact sheet")
SLURM_SCRIPT = OwnOutput("--slurm", "written by `noisybench bench plan --slurm`")
NOISE_FILE = OwnOutput("--output")  # runs name these by their hash: a new one must not stand for an old one unasked
