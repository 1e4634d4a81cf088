"""``python -m benchmarks``: measure speed and memory, from the repository's folder."""

from benchmarks.perf.cli import app
from noisybench.cli.main import main

main(app)
