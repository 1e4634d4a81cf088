"""Packages of a third party, as pip leaves them: modules, cards and a .dist-info folder with the entry points."""

from __future__ import annotations

import textwrap
from pathlib import Path


def install(
    site: Path,
    package: str,
    points: dict[str, dict[str, str]] | str,
    files: dict[str, str | bytes] | None = None,
) -> Path:
    """Write an installed package into a folder of installed packages.

    Args:
        site: the folder, which is on the path.
        package: its name, e.g. ``"noisy-left"``.
        points: entry points by group and name, or the whole text of ``entry_points.txt``.
        files: content by path below the folder; indentation is removed from text.
    """
    info = site / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    if not isinstance(points, str):
        lines = []
        for group, named in points.items():
            lines += [f"[{group}]", *(f"{name} = {value}" for name, value in named.items())]
        points = "\n".join(lines) + "\n"
    (info / "entry_points.txt").write_text(points)
    for name, content in (files or {}).items():
        file = site / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
    return site
