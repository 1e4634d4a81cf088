"""The errors a user can act on: one clear line, exit code 2, no traceback."""

from __future__ import annotations

import difflib
import signal
from collections.abc import Iterable


class UserError(Exception):
    """Something the user gave is wrong. The message names the input, what is wrong and what would be right.

    Attributes:
        told_once: of several processes only this one raises it; else all may, since they have the same command.
    """

    told_once = False


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not known, with the nearest names that are.

    Args:
        kind: what the name was to be, e.g. ``"method"``.
        name: the name as the user wrote it.
        known: every name that would have been right.
    """
    known = sorted(known)
    nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if nearest:
        hint = f"did you mean {' or '.join(nearest)}?"
    elif not known:
        hint = "there are none"
    elif len(known) <= 12:
        hint = f"known: {', '.join(known)}"
    else:
        hint = f"{len(known)} are known, none of them similar"
    return UserError(f"unknown {kind} {name!r}: {hint}")


class FolderInUse(UserError):
    """Another process works in the same folder."""


class DamagedCheckpoint(UserError):
    """A checkpoint is cut off or altered."""


class RunStopped(BaseException):
    """A signal asked a run to stop, and it did. Its message says what is saved.

    No failure: like KeyboardInterrupt it is no Exception, so that nothing takes it for an error of what it interrupts.

    Attributes:
        signal: the one that asked; None where it came to another process of the run.
    """

    def __init__(self, message: str, signal: signal.Signals | None):
        super().__init__(message)
        self.signal = signal


class MethodError(UserError):
    """A method failed while it trained.

    Attributes:
        step: training step, counted from 0.
        reason: what was wrong.
        check: the promise that was broken, by the name of its check in the conformance kit.
    """

    def __init__(self, method: str, step: int, reason: str, *, check: str = "trains"):
        super().__init__(f"method {method!r} failed at step {step}: {reason}")
        self.step, self.reason, self.check = step, reason, check


class ProcessLost(UserError):
    """Another process of the run has ended."""

    def __init__(self, which: str = "another process of the run"):
        super().__init__(f"{which} ended before its time; give the same command with --resume to go on")


class SaidElsewhere(UserError):
    """The run has ended by an error that another process tells."""


def one_line(error: BaseException) -> str:
    """What another library's error says, on one line."""
    try:
        return " ".join(str(error).split()) or type(error).__name__
    except Exception:  # somebody's own class of errors
        return type(error).__name__
