"""`noisybench bench plan --slurm`: a job-array script, one shard a task."""

from __future__ import annotations

import shlex
from pathlib import Path

from noisybench.core.errors import UserError
from noisybench.core.files import replace_file
from noisybench.core.own_outputs import SLURM_SCRIPT

SCRIPT = """\
#!/bin/bash
# {mark}
# One array task runs one shard. A task that is preempted is queued again and goes on from its last checkpoint; tasks
# that overlap never run the same cell. Set what your cluster needs (partition, account, time, GPUs).
#SBATCH --job-name={name}
#SBATCH --array=1-{shards}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=4
#SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --output={log}
set -euo pipefail
cd {folder}
exec {command} --shard "$SLURM_ARRAY_TASK_ID/{shards}"
"""


def write_script(file: Path, name: str, arguments: list[str], shards: int) -> None:
    """Write the script.

    Args:
        arguments: those of ``noisybench`` without ``--shard``.

    Raises:
        UserError: it cannot be written.
    """
    log = file.parent / "slurm-logs"  # made now: SLURM makes no folder
    text = SCRIPT.format(
        mark=SLURM_SCRIPT.mark,
        name=f"noisybench-{name}",
        shards=shards,
        log=log / "slurm-%A_%a.out",
        folder=shlex.quote(str(Path.cwd())),
        command=shlex.join(["noisybench", *arguments]),
    )
    try:
        log.mkdir(parents=True, exist_ok=True)
        with replace_file(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
            temporary.chmod(0o755)
    except OSError as error:
        raise UserError(f"--slurm {file}: cannot be written ({error.strerror})") from error
