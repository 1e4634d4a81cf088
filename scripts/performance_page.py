"""Put the records of docs/performance/*.json into docs/performance.md, as tables: python scripts/performance_page.py

The page marks the places and names the files.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.perf.show import report

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
PLACE = re.compile(r"(<!-- tables of (\S+\.json) -->\n)(?:.*?)(<!-- end of tables -->)", re.DOTALL)


def filled(text: str, folder: Path) -> str:
    """The page's text with every marked place holding the tables of its file.

    Args:
        folder: what the marks' file names are relative to.
    """
    return PLACE.sub(lambda found: f"{found[1]}\n{report([folder / found[2]])}\n\n{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), PAGE.parent), encoding="utf-8")
