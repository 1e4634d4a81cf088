"""Writing the skeleton: the files below ``files/`` with names filled in."""

from __future__ import annotations

import importlib.resources
import os
import re
import shutil
import tempfile
from pathlib import Path
from string import Template

from noisybench.core.errors import UserError
from noisybench.spec import registry

NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
FILES = {  # in the skeleton: the template it is made from
    "pyproject.toml": "pyproject.txt",
    "README.md": "readme.txt",
    "$package/__init__.py": "package.txt",
    "$package/method.py": "method.txt",
    "$package/cards/methods/$name.toml": "card.txt",
    "tests/test_$module.py": "test.txt",
}


def write_skeleton(name: str, folder: Path | None = None) -> str:
    """Write the package of a new method.

    Args:
        name: the method's name, e.g. ``"my-loss"``.
        folder: where to; ``noisybench-NAME`` below the working directory if not given.

    Returns:
        What to do next, for the user.

    Raises:
        UserError: the name is invalid or taken, or the folder exists. Nothing is written then.
    """
    if not NAME.fullmatch(name):
        raise UserError(f"method name {name!r}: use small letters, digits and single hyphens, for example 'my-loss'")
    if name in registry.method_names():
        raise UserError(f"method name {name!r} is registered already: choose another (see `noisybench methods`)")
    folder = folder or Path(f"noisybench-{name}")
    if os.path.lexists(folder):
        raise UserError(f"{folder} exists already: give another --output")
    module = name.replace("-", "_")
    words = {
        "name": name,
        "module": module,
        "package": f"noisybench_{module}",
        "class_name": "".join(part.capitalize() for part in name.split("-")),
    }
    templates = importlib.resources.files("noisybench.skeleton") / "files"
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Written beside its place and moved there, so a folder that exists is complete.
        unfinished = Path(tempfile.mkdtemp(prefix=".", suffix=".unfinished", dir=folder.parent))
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        unfinished.chmod(0o777 & ~_umask())
        for target, template in FILES.items():
            file = unfinished / Template(target).substitute(words)
            file.parent.mkdir(parents=True, exist_ok=True)
            text = (templates / template).read_text(encoding="utf-8")
            file.write_text(Template(text).substitute(words), encoding="utf-8")
        unfinished.rename(folder)
    except OSError as error:
        raise UserError(f"{folder} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return f"wrote {folder}\nnext: pip install -e {folder} && noisybench check {name}"


def _umask() -> int:
    """The bits that new files are made without, which can only be read by setting them."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
