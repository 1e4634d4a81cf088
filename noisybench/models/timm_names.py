"""Names as timm takes them: ``ARCHITECTURE``, ``ARCHITECTURE.TAG``, and both after ``timm/``, as the Hub has them."""

from __future__ import annotations

import timm

from noisybench.core.errors import UserError, unknown_name

OWNER = "timm/"


def timm_name(name: str) -> str:
    """The name without the owner that the Hub puts before it."""
    return name.removeprefix(OWNER)


def check_tag(name: str) -> None:
    """Refuse a tag of pretrained weights that timm does not have for this architecture.

    Args:
        name: its architecture is one of timm's.

    Raises:
        UserError: it has none, or not this one; names the nearest.
    """
    architecture, dot, tag = timm_name(name).partition(".")
    if not dot:
        return
    try:
        timm.get_pretrained_cfg(timm_name(name), allow_unregistered=False)
    except RuntimeError as error:
        known = timm.list_pretrained(f"{architecture}.*")
        if not known:
            raise UserError(f"model {name!r}: timm has no weights for {architecture}; leave out .{tag}") from error
        raise unknown_name("model", timm_name(name), known) from error
