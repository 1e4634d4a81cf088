"""Which W&B project is meant, and what to say when W&B cannot be reached."""

from __future__ import annotations

from noisybench.errors import UserError, one_line


def parse_project(text: str) -> tuple[str, str]:
    """``ENTITY/PROJECT`` as its two names.

    Raises:
        UserError: the text has another form.
    """
    entity, separator, project = text.partition("/")
    if not separator or not entity or not project or "/" in project:
        raise UserError(f"--wandb {text!r}: write ENTITY/PROJECT, as in the project's address")
    return entity, project


def unreachable(error: Exception, doing: str) -> UserError:
    """The error for a missing login or network."""
    return UserError(
        f"W&B: {doing} failed ({one_line(error)}). Check the login (`wandb login`) and the network; "
        "the local board is complete without it"
    )
