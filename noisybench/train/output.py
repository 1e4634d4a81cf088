"""The output folder of a run: what may be written where, and the files of the result."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from noisybench.core.errors import UserError
from noisybench.core.files import TEMPORARY, remove_temporaries, replace_file, reported, write_json
from noisybench.methods.base import LabelEstimate
from noisybench.noise import NoiseArtifact
from noisybench.parallel.folder_lock import HOLDER, LOCK, FolderLock
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.identity import ENVIRONMENT_FIELDS, FORMER_FIELDS
from noisybench.spec.record import RunRecord
from noisybench.train.prepare import RunData


class OutputFolder:
    """One run's folder: ``config.json``, ``metrics.jsonl``, ``checkpoints/``, and at the end ``result.json``,
    ``labels.parquet`` and ``noise.npz``: with the true labels, which lie in the folder of no run that goes on."""

    def __init__(self, path: Path):
        self.path = path
        self.config = path / "config.json"
        self.noise = path / "noise.npz"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.result = path / "result.json"
        self.labels = path / "labels.parquet"
        self._lock = FolderLock(path)

    def check(self, config: ResolvedConfig, *, resume: bool) -> None:
        """Refuse a folder that holds something else. Changes nothing.

        Raises:
            UserError: the folder holds another run, a run that is not to be resumed, or foreign files.
        """
        if not self.path.exists() or (self.path.is_dir() and all(map(_is_passing, self.path.iterdir()))):
            return
        if not self.path.is_dir():
            raise UserError(f"--output {self.path}: a file; give a folder")
        if not self.config.is_file():
            raise UserError(f"--output {self.path}: holds files but no run; give an empty or new folder")
        try:
            stored = json.loads(self.config.read_text(encoding="utf-8"))
            stored_id, stored_config = stored["run_id"], stored["config"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{self.config}: unreadable ({error}); give another --output") from error
        if stored_id != config.run_id:
            changed = ", ".join(_differences(stored_config, config.model_dump(mode="json"))) or "the release"
            flag = "--resume" if resume else "--output"
            raise UserError(
                f"{flag} {self.path}: holds run {stored_id} with a different configuration ({changed}); "
                f"give another --output"
            )
        if not resume:
            state = "this run, finished"
            if not self.finished():
                self._lock.refuse_if_held()
                state = "this run, unfinished"
            raise UserError(f"--output {self.path}: holds {state}; add --resume, or give another --output")

    def refuse_former_batchnorm(self, processes: int) -> None:
        """Refuse to go on with a run of a release whose BatchNorm saw each process's own part of a batch.

        Raises:
            UserError: it was begun by one, and goes on on several processes.
        """
        if processes == 1 or not self.config.is_file():
            return
        stored = json.loads(self.config.read_text(encoding="utf-8"))["config"]
        if stored.get("sync_batchnorm") is False:
            raise UserError(
                f"--resume {self.path}: begun by a release whose BatchNorm saw each process's own part of a batch, "
                f"which the run id does not say; finish it with that release, or start it in another --output"
            )

    def finished(self) -> RunRecord | None:
        """The record, if the folder holds a completed run."""
        record = RunRecord.load(self.result) if self.result.is_file() else None
        return record if record is not None and record.status == "completed" else None

    def start(self, config: ResolvedConfig, *, resume: bool) -> None:
        """Make the folder, take the sole use of it until :meth:`close`, and store the configuration.

        Raises:
            FolderInUse: another process works in it.
            UserError: the folder cannot be written, or another process has used it since it was checked.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            self.check(config, resume=resume)
            remove_temporaries(self.path)
            self.noise.unlink(missing_ok=True)  # of a run that an earlier release began
            write_json(self.config, {"run_id": config.run_id, "config": config.model_dump(mode="json")})
        except OSError as error:
            raise UserError(f"--output {self.path}: cannot be written ({error.strerror})") from error

    def lock(self) -> None:
        """Take the sole use of a folder that exists, before it is started again.

        Raises:
            FolderInUse: another process works in it.
            UserError: the folder cannot be written.
        """
        self._lock.acquire()

    def close(self) -> None:
        """Let other processes use the folder."""
        self._lock.release()

    def write_noise(self, noise: NoiseArtifact) -> None:
        """Write the noise artifact."""
        with reported(self.noise):
            noise.save(self.noise)

    def write_result(self, record: RunRecord) -> None:
        """Write the run record."""
        with reported(self.result):
            record.save(self.result)

    def write_metrics(self, rows: list[dict]) -> None:
        """Write the per-epoch metrics, one JSON object a line."""
        with reported(self.metrics), replace_file(self.metrics) as temporary:
            temporary.write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows), encoding="utf-8")

    def write_labels(self, data: RunData, estimate: LabelEstimate) -> None:
        """Write the training labels' estimates, most suspicious first: by the dataset's own index (and file, where
        images are files), as ids and as names of classes."""
        suspicion = estimate.suspicion.double().cpu().numpy()
        soft = estimate.soft_labels.float().cpu().numpy()
        sample, given, files = data.splits.train, data.given_labels, data.train_files()
        classes = np.array(data.dataset.card.classes, dtype=object)
        order = np.lexsort((sample, -suspicion))
        soft = soft[order]
        named = {} if files is None else {"file": [files[row] for row in order]}
        table = pa.table(
            {
                "index": sample[order],
                **named,
                "given_label": given[order],
                "estimated_label": soft.argmax(1),
                "given_class": classes[given[order]].tolist(),
                "estimated_class": classes[soft.argmax(1)].tolist(),
                "soft_label": pa.FixedSizeListArray.from_arrays(soft.reshape(-1), soft.shape[1]),
                "suspicion": suspicion[order],
            }
        )
        with reported(self.labels), replace_file(self.labels) as temporary:
            pyarrow.parquet.write_table(table, temporary)


def _is_passing(file: Path) -> bool:
    """Whether a file is none of a run's: the lock, or what a writer that was killed left."""
    return file.name in (LOCK, HOLDER) or (file.name.startswith(".") and file.name.endswith(TEMPORARY))


def _differences(stored: dict, present: dict, prefix: str = "") -> list[str]:
    """Dotted names of the values in which two configurations differ, with both values."""
    found = []
    for name in sorted(stored.keys() | present.keys()):
        old, new = stored.get(name), present.get(name)
        if not prefix and name in ENVIRONMENT_FIELDS | FORMER_FIELDS:
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            found += _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            found.append(f"{prefix}{name}: {old} there, {new} here")
    return found
