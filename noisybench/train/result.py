"""From a run that ended to its record."""

from __future__ import annotations

from noisybench.core.machine import device_name, git_commit, peak_memory_bytes, versions
from noisybench.models.data_config import weights_name
from noisybench.models.fingerprint import state_hash, weights_hash
from noisybench.spec import registry
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.metrics import EPOCH, final_values, selected
from noisybench.spec.record import Cost, Fingerprints, InformationUsed, RunRecord
from noisybench.spec.tuned import tuning_trials
from noisybench.train.build import Place
from noisybench.train.needs import declared_needs
from noisybench.train.prepare import RunData
from noisybench.train.progress_made import Past
from noisybench.train.session import Session


def make_record(
    config: ResolvedConfig, data: RunData, place: Place, session: Session | None, wall_seconds: float, error: str | None
) -> RunRecord:
    """The record of a run.

    Args:
        session: None if the method could not be built.
        wall_seconds: since the run's first process began it, without the time between processes.
        error: why it failed; None if it is complete.
    """
    declared = registry.load_method(config.method)
    method, past = (None, Past()) if session is None else (session.method, session.past)
    curves = past.curves
    names = sorted({name for row in curves for name in row} - {EPOCH.name})
    by_name = {name: [row.get(name) for row in curves] for name in names}
    headline = declared.heads[0]
    heads = {head: selected(by_name, head, headline) if curves else {} for head in declared.heads}
    needs = declared_needs(config.method) if session is None else session.needs
    clean = len(data.splits.meta) if "meta_set" in needs else 0
    return RunRecord(
        status="completed" if error is None else "failed",
        error=error,
        run_id=config.run_id,
        config=config.model_dump(mode="json"),
        fingerprints=Fingerprints(
            dataset=data.dataset.fingerprint(),
            noise=data.noise.sha256,
            split=data.splits.fingerprint(),
            weights=weights_hash(method.modules()) if method is not None else None,
            state=state_hash(method.state_dict(), without=method.modules()) if method is not None else None,
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
            noise_prior=sorted(needs - {"meta_set"}),
            pretrained_weights=_weights_used(config),
            tuning_trials=tuning_trials(config),
        ),
        cost=Cost(
            wall_seconds=wall_seconds,
            train_seconds=past.train_seconds,
            samples_per_second=_per_second(len(curves) * len(data.given_labels), past.train_seconds),
            peak_memory_bytes=peak_memory_bytes(place.device),
            device=device_name(place.device),
            processes=place.world.size,
            forward_equivalents_per_step=(declared if method is None else method).forward_equivalents,
        ),
        versions=versions(),
        git_commit=git_commit(),
    )


def _weights_used(config: ResolvedConfig) -> bool | str:
    """Which pretrained weights a run started from; False if none."""
    if config.weights_sha256 is not None:
        return f"sha256:{config.weights_sha256}"
    return weights_name(config.model) if config.pretrained else False


def _per_second(count: int, seconds: float) -> float:
    return count / seconds if seconds > 0 else 0.0
