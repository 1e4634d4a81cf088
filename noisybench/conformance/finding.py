"""What a check found wrong."""

from __future__ import annotations


class Finding(Exception):
    """One check failed.

    Attributes:
        check: its name.
        what: what was wrong.
        step: the training step (counted from 0), if it has one.
    """

    def __init__(self, check: str, what: str, step: int | None = None):
        super().__init__(check, what, step)
        self.check, self.what, self.step = check, " ".join(what.split()), step

    def __str__(self) -> str:
        return f"{self.check}: {self.what}" + ("" if self.step is None else f" (step {self.step})")
