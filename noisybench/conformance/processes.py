"""One process against several: a method must train the same networks, whoever computes which rows of a batch.

The kit starts its own command once more in connected processes. Each trains the method alone and with the others, and
writes what it found into a folder, which the first command reads.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from noisybench.conformance.finding import Finding
from noisybench.conformance.global_rng import surroundings
from noisybench.conformance.setups import APART
from noisybench.conformance.state import state_tensors
from noisybench.conformance.trial import Trial
from noisybench.core.errors import ProcessLost, UserError
from noisybench.core.files import write_json
from noisybench.parallel.connect import leave, make_accelerator
from noisybench.parallel.launch import launch, refuse_nested
from noisybench.parallel.world import World

CHECK = "processes"
SAME = 1e-6  # of a tensor's largest value, in float64
LIMIT = 300.0  # seconds after which one process waits for another in vain
RIGHT = "docs/add-a-method.md says what makes a method right on several processes"


def refuse_too_few(processes: int) -> None:
    """Refuse to compare one process with itself.

    Raises:
        UserError: there are fewer than two, or this is one of several already.
    """
    if processes < 2:
        raise UserError(f"--processes {processes}: one process is compared with several; give 2 or more")
    refuse_nested()


def check_processes(name: str, overrides: list[str], processes: int) -> Finding | None:
    """What is wrong with a method in so many processes; None if nothing."""
    with tempfile.TemporaryDirectory(prefix="noisybench-check-") as folder:
        settings = [part for text in overrides for part in ("--set", text)]
        before = os.environ.get("ACCELERATE_USE_CPU")
        os.environ["ACCELERATE_USE_CPU"] = "true"
        try:
            code = launch(["check", name, *settings, "--compare-in", folder], processes)
        finally:
            os.environ.pop("ACCELERATE_USE_CPU") if before is None else os.environ.update(ACCELERATE_USE_CPU=before)
        found = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(Path(folder).glob("*.json"))]
    told = next((one for one in found if one["what"]), None)
    if told is not None:
        return Finding(CHECK, told["what"], told["step"])
    if len(found) < processes:
        return Finding(CHECK, f"{processes - len(found)} of {processes} processes ended without a word (code {code})")
    return None


def compare_here(name: str, overrides: dict[str, Any], folder: Path) -> None:
    """In each of the connected processes: train alone and together, and write what is wrong into the folder."""
    world = World(make_accelerator())
    file = folder / f"{world.rank}.json"
    timer = threading.Timer(LIMIT, _give_up, [file])
    timer.daemon = True
    timer.start()
    what, step = "", None
    try:
        _compare(name, overrides, world)
    except Finding as finding:
        what, step = finding.what, finding.step
    except ProcessLost:
        return  # the other one tells
    write_json(file, {"what": what, "step": step})
    if what:
        os._exit(1)  # the other processes may wait for this one: the launcher ends them
    leave()


def _give_up(file: Path) -> None:
    write_json(
        file, {"what": f"after {LIMIT:.0f} s one process still waits for another: all must step alike", "step": None}
    )
    os._exit(1)


def _compare(name: str, overrides: dict[str, Any], world: World) -> None:
    """Train alone, then with the other processes, and compare after each step.

    Raises:
        Finding: the networks or the per-sample state are not the same.
    """
    with surroundings(9):
        alone = Trial(name, APART, overrides)
        draws, expected = _states(alone)
    with surroundings(9):
        together = Trial(name, APART, overrides, world)
        for number, state in enumerate(_run(together)):
            _compare_processes(state, world, number)
            # What is drawn from torch's generator within a step is another draw on each process.
            if not draws:
                _compare_with_one(expected[number], state, world, number)


def _run(trial: Trial):
    """The state after each step."""
    for epoch in range(trial.config.epochs):
        for _ in trial.steps(epoch):
            yield {place: tensor.detach().clone() for place, tensor in state_tensors(trial.method).items()}
        trial.evaluate()


def _states(trial: Trial) -> tuple[bool, list[dict[str, Tensor]]]:
    """Whether any step draws from torch's generator, and the state after each."""
    states, draws = [], False
    own_step = trial.method.training_step

    def watched(batch):
        nonlocal draws
        before = torch.random.get_rng_state()
        output = own_step(batch)
        draws |= not torch.equal(before, torch.random.get_rng_state())
        return output

    vars(trial.method)["training_step"] = watched
    states = list(_run(trial))
    return draws, states


def _compare_processes(state: dict[str, Tensor], world: World, step: int) -> None:
    """Refuse state that is not the same on all processes; buffers (BatchNorm's means) are averaged later."""
    for place, tensor in sorted(state.items()):
        if not tensor.is_floating_point() or "running_" in place:
            continue
        least, most = _extremes(tensor, world)
        if float((most - least).abs().max()) > SAME * max(1e-12, float(most.abs().max())):
            raise Finding(
                CHECK,
                f"{place} differs between {world.size} processes: step through context.step or "
                f"context.apply_gradients, and write per-sample state through context.store; {RIGHT}",
                step,
            )


def _extremes(tensor: Tensor, world: World) -> tuple[Tensor, Tensor]:
    rows = world.gather_rows(tensor.reshape(1, -1)) if not world.alone else tensor.reshape(1, -1)
    return rows.amin(0), rows.amax(0)


def _compare_with_one(expected: dict[str, Tensor], state: dict[str, Tensor], world: World, step: int) -> None:
    for place, tensor in sorted(expected.items()):
        if not tensor.is_floating_point() or "running_" in place:
            continue
        off = float((tensor - state[place]).abs().max()) / max(1e-6, float(tensor.abs().max()))
        if off > SAME:
            raise Finding(
                CHECK,
                f"{place} is another with {world.size} processes than with 1 (off by {off:.1g}): give a loss as the "
                f"mean over this process's rows, and a part of it over other rows its own share; {RIGHT}",
                step,
            )
