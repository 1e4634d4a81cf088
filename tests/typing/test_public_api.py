"""A type checker's view of the installed package: a user's code passes pyright in strict mode, the README's too."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PREAMBLE = """
from torch import Tensor, nn

def given() -> tuple[nn.Module, Tensor, Tensor, Tensor, Tensor, float]: ...

"""
GIVEN = "model, images, label_logits, meta_images, meta_labels, beta"


@functools.cache
def pyright() -> str:
    """The command, where it is installed and starts (it needs node)."""
    command = shutil.which("pyright", path=f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    if command is None or subprocess.run([command, "--version"], capture_output=True, timeout=300).returncode:
        pytest.skip("no pyright on this machine (pip install 'pyright[nodejs]')")
    return command


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The interpreter of an environment that has noisybench's wheel, and all else from the environment of the tests."""
    command = pyright()
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "venv")
    packages = next((folder / "venv").glob("**/site-packages"))
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    zipfile.ZipFile(next(folder.glob("*.whl"))).extractall(packages)
    others = [place for place in sys.path if place.endswith(("site-packages", "dist-packages"))]
    (packages / "others.pth").write_text("\n".join(others))
    assert command
    return Path(sysconfig.get_path("scripts", vars={"base": str(folder / "venv")})) / Path(sys.executable).name


def complaints(code: str, installed: Path, folder: Path) -> list[str]:
    """What pyright says of a file, in strict mode."""
    (folder / "user.py").write_text(code, encoding="utf-8")
    (folder / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "strict"}))
    command = [pyright(), "--pythonpath", installed, "--outputjson", "user.py"]
    told = json.loads(subprocess.run(command, cwd=folder, capture_output=True, text=True).stdout)
    assert told["summary"]["filesAnalyzed"] == 1
    return [f"{each['range']['start']['line'] + 1}: {each['message']}" for each in told["generalDiagnostics"]]


def readme_code() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.mark.slow
def test_the_readmes_python(installed, tmp_path):
    snippets = readme_code()
    assert len(snippets) == 2
    code = PREAMBLE
    for number, snippet in enumerate(snippets):
        body = f"{GIVEN} = given()\nprint({GIVEN})\n{snippet}"
        code += f"def snippet{number}() -> None:\n{textwrap.indent(body, '    ')}\n"
    assert complaints(code, installed, tmp_path) == []


@pytest.mark.slow
def test_a_users_code_against_the_public_api(installed, tmp_path):
    code = (Path(__file__).parent / "public_api.py").read_text(encoding="utf-8")
    assert complaints(code, installed, tmp_path) == []


@pytest.mark.slow
def test_a_wrong_use_is_told(installed, tmp_path):
    code = "import noisybench\nnoisybench.RunRecord.load(3)\n"
    told = complaints(code, installed, tmp_path)
    assert any('"Literal[3]" is not assignable to "Path"' in each for each in told)


@pytest.mark.slow
@pytest.mark.parametrize("plugin", ["examples/plugin/noisybench_label_smoothing/method.py"])
def test_the_example_plugin(installed, tmp_path, plugin):
    assert complaints((ROOT / plugin).read_text(encoding="utf-8"), installed, tmp_path) == []
