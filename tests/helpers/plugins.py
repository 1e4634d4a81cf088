"""Packages of a third party: really installed by pip, or written as pip leaves them."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
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


class Place:
    """A working directory and a folder that packages are installed into."""

    def __init__(self, folder: Path):
        self.folder, self.target = folder, folder / "site"
        self.folder.mkdir(exist_ok=True)
        paths = [str(self.target), os.environ.get("PYTHONPATH", "")]
        self.environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}

    def python(self, *arguments: str | Path) -> subprocess.CompletedProcess:
        command = [sys.executable, *map(str, arguments)]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def install(self, package: Path) -> None:
        # Without a network: the build backend is the one of the dev extra.
        offline = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--disable-pip-version-check")
        done = self.python("-m", "pip", "install", *offline, "--target", self.target, package)
        assert done.returncode == 0, done.stderr

    def run(self, command: str) -> str:
        """Run a command of the documentation; its output."""
        program, *arguments = shlex.split(command)
        if program == "pip":
            self.install(self.folder / arguments[-1])
            return ""
        done = self.python("-m", program, *arguments)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout
