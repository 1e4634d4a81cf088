"""Standard output."""

from __future__ import annotations

from rich.console import Console


def console() -> Console:
    """Standard output: in colour and as wide as the terminal, plain and unwrapped (200 columns) elsewhere."""
    out = Console()
    return out if out.is_terminal else Console(width=200)
