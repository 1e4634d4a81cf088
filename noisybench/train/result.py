"""From a run that ended to its record."""

from __future__ import annotations

import torch

from noisybench.core.machine import git_commit, peak_memory_bytes, versions
from noisybench.methods.base import Method
from noisybench.parallel.world import World
from noisybench.spec import registry
from noisybench.spec.config import RunConfig
from noisybench.spec.metrics import EPOCH, final_values, selected
from noisybench.spec.record import Cost, Fingerprints, InformationUsed, RunRecord
from noisybench.train import checkpoint_file
from noisybench.train.checkpoints import Past
from noisybench.train.prepare import RunData


def _record(
    config: RunConfig,
    method: Method | None,
    data: RunData,
    past: Past,
    world: World,
    device,
    wall_seconds: float,
    error,
) -> RunRecord:
    """The record of a run; ``method`` is None if it could not be built."""
    declared = registry.load_method(config.method)
    curves = past.curves
    names = sorted({name for row in curves for name in row} - {EPOCH.name})
    by_name = {name: [row.get(name) for row in curves] for name in names}
    headline = declared.heads[0]
    heads = {head: selected(by_name, head, headline) if curves else {} for head in declared.heads}
    clean = len(data.splits.meta) if "meta_set" in declared.needs else 0
    return RunRecord(
        status="completed" if error is None else "failed",
        error=error,
        run_id=config.run_id,
        config=config.model_dump(mode="json"),
        fingerprints=Fingerprints(
            dataset=data.dataset.fingerprint(),
            noise=data.noise.sha256,
            split=data.splits.fingerprint(),
            weights=checkpoint_file.weights_hash(method.modules()) if method is not None else None,
        ),
        noise={
            "kind": data.noise.kind,
            "rule": data.noise.rule,
            "requested_rate": data.noise.requested_rate if data.achieved_rate is not None else None,
            "expected_rate": data.noise_rate,
            "achieved_rate": data.achieved_rate,
            "achieved_rate_train_set": data.train_noise_rate,
        },
        metrics=heads[headline] | final_values(by_name),
        heads=heads,
        curves=by_name,
        information_used=InformationUsed(
            clean_labels=clean,
            clean_labels_for_selection=len(data.splits.clean_val),
            noise_prior=sorted(declared.needs & {"noise_rate", "noise_kind", "transition_matrix"}),
            pretrained_weights=config.pretrained,
        ),
        cost=Cost(
            wall_seconds=wall_seconds,
            train_seconds=past.train_seconds,
            samples_per_second=_per_second(len(curves) * len(data.given_labels), past.train_seconds),
            peak_memory_bytes=peak_memory_bytes(device),
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            processes=world.size,
            forward_equivalents_per_step=(declared if method is None else method).forward_equivalents,
        ),
        versions=versions(),
        git_commit=git_commit(),
    )


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
