"""Starting one command as several connected processes on this machine, by torch's elastic launcher."""

from __future__ import annotations

import ctypes
import logging
import os
import shlex
import signal
import sys
import uuid
from pathlib import Path

from noisybench.core.errors import UserError
from noisybench.parallel import environment
from noisybench.parallel.signals import STOP_SIGNALS


def launch(arguments: list[str], processes: int) -> int:
    """Run ``python -m noisybench ARGUMENTS`` in so many connected processes, one a GPU, or all on CPUs without one.

    Ctrl-C and SIGTERM are passed on; if one process ends by an error, the others are ended.

    Returns:
        The exit code: 0, or that of the first process that failed; 128 + the signal where one ended it; 143 where this
        process was asked to stop.

    Raises:
        UserError: there are fewer GPUs than processes.
    """
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from noisybench.core.machine import cores
    from noisybench.parallel.connect import check_processes

    check_processes(processes)
    os.environ[STARTED], os.environ[LAUNCHER] = str(processes), str(os.getpid())
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // processes)))
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("torch.distributed.elastic")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # each has a level of its own, and reports ends at length
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # any free port
        local_addr="localhost",
        max_restarts=0,
        # Passed on: a run saves itself and stops. What is ignored, as SIGHUP under nohup, stays ignored.
        signals_to_handle=",".join(s.name for s in STOP_SIGNALS if signal.getsignal(s) != signal.SIG_IGN),
    )
    try:
        # -P: a file of the working directory must not stand for a dependency of the same name.
        elastic_launch(config, sys.executable)("-P", "-m", "noisybench", *arguments)
    except SignalException:
        return 128 + signal.SIGTERM  # as a run in one process ends, whatever asked it to stop
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode < 0:
            name = signal.Signals(-failure.exitcode).name
            print(
                f"noisybench: process {rank} of {processes} was ended by {name}; give the same command with --resume "
                f"to go on",
                file=sys.stderr,
            )
            return 128 - failure.exitcode
        return failure.exitcode
    return 0


def without_processes(arguments: list[str]) -> list[str]:
    """A command line without its ``--processes N``."""
    kept, skip = [], False
    for argument in arguments:
        if skip or argument.startswith("--processes="):
            skip = False
        elif argument == "--processes":
            skip = True
        else:
            kept.append(argument)
    return kept


def refuse_nested() -> None:
    """Refuse ``--processes`` in a process that another launcher started.

    Raises:
        UserError: it is one.
    """
    if environment.launch().size > 1:
        raise UserError("--processes within accelerate launch or torchrun: these start the processes; leave it out")


def end_with_launcher() -> None:
    """Where ``--processes`` started this process: let the system stop it as by SIGTERM when its launcher is gone."""
    if LAUNCHER not in os.environ or sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.environ[LAUNCHER] != str(os.getppid()):  # it was gone before
        os.kill(os.getpid(), signal.SIGTERM)


STARTED = "NOISYBENCH_PROCESSES"  # how many `--processes` started, set for each; the launcher tells of lost ones
LAUNCHER = "NOISYBENCH_LAUNCHER"  # the process that started them
PR_SET_PDEATHSIG = 1  # from Linux's prctl.h

STOPPED = 128 + signal.SIGTERM  # what a shell reports of a process that SIGTERM ended


def resume_command(argv: list[str]) -> str:
    """The command that goes on where this one stopped: the same with ``--resume``, under the same launcher if any."""
    started_as_module = Path(argv[0]).name == "__main__.py"
    program = [sys.executable, "-m", "noisybench"] if started_as_module else argv[:1]
    started = os.environ.get(STARTED)
    processes = [] if started is None else ["--processes", started]
    return shlex.join([*program, *argv[1:], *processes, *([] if "--resume" in argv else ["--resume"])])
