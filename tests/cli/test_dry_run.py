"""``noisybench run --dry-run``: the whole configuration, without what only training needs."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import json, sys
from contextlib import redirect_stdout
from io import StringIO
from noisybench.cli.main import main
from noisybench.spec import registry

for method in registry.method_names():
    for more in ([], ["--dataset", "cifar10", "--track", "fast"], ["--ruleset", "blind", "--noise", "none"]):
        sys.argv = ["noisybench", "run", "--method", method, *more, "--dry-run"]
        printed = StringIO()
        with redirect_stdout(printed):
            try:
                main()
            except SystemExit as stop:
                assert not stop.code, sys.argv
        assert json.loads(printed.getvalue())["method"] == method
        heavy = {"torch", "timm", "torchvision", "accelerate", "datasets", "wandb", "sklearn", "scipy", "pyarrow"}
        assert not heavy & sys.modules.keys(), (sys.argv, heavy & sys.modules.keys())
    print("dry:", method)
"""


def test_no_dry_run_imports_what_trains():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("dry: ") >= 22 and "dry: mslg\n" in done.stdout
