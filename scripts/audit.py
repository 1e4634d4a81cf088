"""Look for known vulnerabilities of the installed packages: `python scripts/audit.py`, by pip-audit.

Exit code 1 if a package has one that a newer version mends. One without such a version is named, and fails nothing:
there is nothing to install instead. Where the service cannot be reached, or knows no package, one line says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

SECONDS = 240
COMMAND = ["-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable", "--timeout", "15"]


def verdict(report: dict[str, Any]) -> tuple[list[str], int]:
    """What a report of pip-audit says, in lines, and the exit code."""
    packages = report["dependencies"]
    looked_at = [package for package in packages if "skip_reason" not in package]
    if not looked_at:
        return [f"audit: skipped: the service answers for none of {len(packages)} packages"], 0
    lines, code = [], 0
    for package in looked_at:
        for found in package["vulns"]:
            mended = ", ".join(found["fix_versions"])
            lines.append(
                f"{package['name']} {package['version']}: {found['id']}; mended in {mended or 'no version yet'}"
            )
            code = 1 if mended else code
    unknown = len(packages) - len(looked_at)
    rest = f", {unknown} are not known to the service" if unknown else ""
    lines.append(f"audit: {len(lines)} known vulnerabilities in {len(looked_at)} packages{rest}")
    return lines, code


def main() -> int:
    """Run pip-audit; the exit code."""
    try:
        done = subprocess.run([sys.executable, *COMMAND], capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        print(f"audit: skipped: no answer within {SECONDS} seconds")
        return 0
    try:
        lines, code = verdict(json.loads(done.stdout))
    except (ValueError, KeyError, TypeError):  # it could not reach the service, or is not installed
        reason = done.stderr.strip().splitlines()[-1:] or ["pip-audit said nothing"]
        lines, code = [f"audit: skipped: {reason[0][:300]}"], 0
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
