"""The processes of a run as Accelerate sees them, from the environment that a launcher made."""

from __future__ import annotations

import os
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import InitProcessGroupKwargs

from noisybench.core.errors import UserError, one_line
from noisybench.parallel.environment import LAUNCHERS, launch, refuse_other_settings

# For one collective, and for all processes to connect. Generous, since processes may prepare data at different speeds;
# who is gone later is noticed by closed connections and by noisybench.parallel.watch.
COLLECTIVE_TIMEOUT = timedelta(hours=1)


def make_accelerator(*, mixed_precision: str = "no") -> Accelerator:
    """The accelerator of a run; with several processes on CPUs they are connected by gloo.

    Args:
        mixed_precision: "no" or "bf16".

    Raises:
        UserError: there are fewer GPUs than processes on this machine, the launcher's processes do not connect, or the
            environment asks for something else than the run does.
    """
    launched = launch()
    refuse_other_settings(mixed_precision)
    check_processes(launched.local_size)
    forget_another_precision(mixed_precision)
    try:
        accelerator = Accelerator(
            cpu=launched.size > 1 and on_cpu(),
            mixed_precision=mixed_precision,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=COLLECTIVE_TIMEOUT)],
        )
    except RuntimeError as error:
        if launched.size == 1:
            raise
        raise UserError(
            f"the {launched.size} processes cannot connect ({one_line(error)[:200]}): on several machines, name the "
            f"network interface between them in GLOO_SOCKET_IFNAME (CPUs) or NCCL_SOCKET_IFNAME (GPUs)"
        ) from error
    if accelerator.num_processes != launched.size:
        raise UserError(
            f"the launcher started {launched.size} processes, and Accelerate connects {accelerator.num_processes}: "
            f"start them with {LAUNCHERS}"
        )
    return accelerator


def forget_another_precision(mixed_precision: str) -> None:
    """Let a process that had another mixed precision before make an ``Accelerator`` of this one; its group stays."""
    if AcceleratorState._shared_state.get("_mixed_precision", mixed_precision) != mixed_precision:
        AcceleratorState._reset_state()


def leave() -> None:
    """Take this process out of its group, at the end of its work."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def on_cpu() -> bool:
    """Whether several processes run on CPUs: there is no GPU, or the user wants it so."""
    wanted = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
    return wanted or torch.cuda.device_count() == 0


def check_processes(processes: int) -> None:
    """Refuse several processes on one GPU of this machine.

    Raises:
        UserError: there are more processes than GPUs.
    """
    gpus = torch.cuda.device_count()
    if processes > max(gpus, 1) and not on_cpu():
        raise UserError(
            f"{processes} processes on a machine with {gpus} GPU{'s' * (gpus != 1)}: start at most one a GPU, or set "
            f"ACCELERATE_USE_CPU=true"
        )
