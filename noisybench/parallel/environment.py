"""What the environment says of this process: who launched it, and what Accelerate's settings ask for.

Read here and nowhere else: a variable that is left over from another launch, or that would change a result behind the
configuration's back, is refused in one line that names it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from noisybench.core.errors import UserError

LAUNCHERS = "`noisybench run --processes N`, `accelerate launch --multi_gpu` or `torchrun`"


@dataclass(frozen=True)
class Launch:
    """This process among those that a launcher started.

    Attributes:
        rank: its number, from 0.
        size: how many there are, over all machines.
        local_rank, local_size: the same on this machine.
        address, port: where they meet; empty and 0 where there is one process.
    """

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    local_size: int = 1
    address: str = ""
    port: int = 0


def launch() -> Launch:
    """Who launched this process.

    Raises:
        UserError: the variables do not make one launch: left over from another one, or no numbers.
    """
    size = _number("WORLD_SIZE", 1, least=1)
    if not os.environ.get("WORLD_SIZE", "").strip():
        left = [name for name in ("RANK", "LOCAL_RANK") if os.environ.get(name)]
        if left:
            raise UserError(
                f"environment: {left[0]}={os.environ[left[0]]} without WORLD_SIZE, as if left over from a launcher: "
                f"unset it, or start several processes with {LAUNCHERS}"
            )
        return Launch()
    if size == 1:
        for name in ("RANK", "LOCAL_RANK"):
            _number(name, 0, least=0, most=0)
        return Launch()
    missing = [
        name for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT") if not os.environ.get(name, "").strip()
    ]
    if missing:
        raise UserError(
            f"environment: WORLD_SIZE={size} without {', '.join(missing)}, so the other processes cannot be found: "
            f"unset it, or start several processes with {LAUNCHERS}"
        )
    return Launch(
        rank=_number("RANK", 0, least=0, most=size - 1),
        size=size,
        local_rank=_number("LOCAL_RANK", 0, least=0, most=size - 1),
        local_size=_number("LOCAL_WORLD_SIZE", 1, least=1, most=size),
        address=os.environ["MASTER_ADDR"].strip(),
        port=_number("MASTER_PORT", 0, least=1, most=65535),
    )


def told_by_another() -> bool:
    """Whether the first process of this launch on this machine tells what is wrong with the command itself."""
    try:
        return launch().local_rank != 0
    except UserError:
        return False


def is_first() -> bool:
    """Whether this is the first process of its launch over all machines."""
    try:
        return launch().rank == 0
    except UserError:
        return True


OFF = ("", "no", "false", "0", "none")
ASKS = {
    "ACCELERATE_DYNAMO_BACKEND": "compiled networks round otherwise, and a run is identified without it: use `no`",
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "a batch is one step here: give a larger --batch-size instead",
    "ACCELERATE_USE_FSDP": "networks are not sharded here, and bilevel methods need them whole: leave it out",
    "ACCELERATE_USE_DEEPSPEED": "networks and optimizers are the run's own here: leave it out",
    "ACCELERATE_USE_MEGATRON_LM": "networks are not split here: leave it out",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "networks are not split here: leave it out",
    "ACCELERATE_DOWNCAST_BF16": "a run's precision is its own: leave it out, or give --set mixed_precision=bf16",
    "XLA_USE_BF16": "a run's precision is its own: leave it out",
}


def refuse_other_settings(mixed_precision: str) -> None:
    """Refuse settings of Accelerate that would change a result, or that would be ignored.

    Args:
        mixed_precision: the run's own.

    Raises:
        UserError: names the setting, and what would be right.
    """
    asked = os.environ.get("ACCELERATE_MIXED_PRECISION", "").lower()
    if asked not in OFF and asked != mixed_precision:
        raise UserError(
            f"ACCELERATE_MIXED_PRECISION={asked} (Accelerate's configuration, or --mixed_precision of its launcher), "
            f"and this run's mixed_precision is {mixed_precision}: set it to `no` there, or give --set "
            f"mixed_precision=bf16 here"
        )
    for name, why in ASKS.items():
        value = os.environ.get(name, "").strip()
        if value.lower() in OFF or (name == "ACCELERATE_GRADIENT_ACCUMULATION_STEPS" and value == "1"):
            continue
        raise UserError(f"{name}={value} (Accelerate's configuration or launcher): {why}")


def _number(name: str, default: int, *, least: int, most: int | None = None) -> int:
    """A whole number; the default if the variable is not set.

    Raises:
        UserError: it is none, or outside its range.
    """
    text = os.environ.get(name, "").strip()
    if not text:
        return default
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if number < least or (most is not None and number > most):
        until = f" to {most}" if most is not None else ""
        raise UserError(
            f"environment: {name}={text[:20]}: a launcher sets it to a whole number from {least}{until}; unset it, or "
            f"start several processes with {LAUNCHERS}"
        )
    return number
