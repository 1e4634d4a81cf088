"""A run again from its record: its configuration with the files that a record does not hold, and its command."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from noisybench.core.errors import UserError
from noisybench.core.files import file_sha256
from noisybench.core.nested import flatten, merge
from noisybench.spec import registry
from noisybench.spec.config import ResolvedConfig
from noisybench.spec.identity import ENVIRONMENT_FIELDS, science, with_later_fields
from noisybench.spec.layers import noise_kind, resolve_dict
from noisybench.spec.record import RunRecord
from noisybench.spec.text import parse_override


@dataclass(frozen=True)
class Files:
    """Where on this machine the files lie that runs read. Boards' records hold no paths.

    Attributes:
        data_path: folder with the dataset's files.
        noise_files: of noise models; a run takes the one that has the hash of its record.
        weights, clean_labels: files of these.
    """

    data_path: Path | None = None
    noise_files: list[Path] = field(default_factory=list)
    weights: Path | None = None
    clean_labels: Path | None = None


def refuse_foreign_code(records: list[RunRecord], *, allowed: bool) -> None:
    """Refuse to import what a record names: a module runs as code.

    Raises:
        UserError: a record's method is a module's, and nothing allows it.
    """
    for record in [] if allowed else records:
        method = str(record.config["method"])
        if registry.is_foreign(method):
            raise UserError(
                f"run {record.run_id}: it names the module of its method {method!r}, and importing that runs its code: "
                f"add --import-methods if you trust it"
            )


def config_again(record: RunRecord, files: Files, output: Path) -> ResolvedConfig:
    """The configuration of a record's run, to be run on this machine.

    Raises:
        UserError: a file is missing, or this release makes another run of it.
    """
    stored = with_later_fields(record.config)
    given = {name: value for name, value in stored.items() if name not in ENVIRONMENT_FIELDS}
    given |= {name: str(path) for name, path in _paths(record, stored, files).items()}
    config = resolve_dict(given | {"output": str(output)})
    if config.run_id != record.run_id:
        before, now = (flatten(science(values)) for values in (stored, config.model_dump(mode="json")))
        changed = sorted(name for name in before.keys() | now.keys() if before.get(name) != now.get(name))
        raise UserError(
            f"run {record.run_id}: this release cannot make it again; it would be run {config.run_id} "
            f"({', '.join(changed)[:200] or 'its stored form'} differs)"
        )
    return config


def _paths(record: RunRecord, stored: dict[str, Any], files: Files) -> dict[str, Path]:
    """The files of one run, by the field of its configuration."""
    paths = {} if files.data_path is None else {"data_path": files.data_path}
    wanted = stored.get("noise_file_sha256")
    if noise_kind(stored["noise"]).file is not None:
        found = next((file for file in files.noise_files if wanted in (None, file_sha256(file))), None)
        if found is None:
            given = f"none of {', '.join(map(str, files.noise_files))} has it" if files.noise_files else "none is given"
            raise UserError(
                f"run {record.run_id}: noise {stored['noise']!r} reads a file of sha256 {str(wanted)[:16]}…, and "
                f"{given}: name it by --noise-file FILE"
            )
        paths["noise_file"] = found
    for name, of in (("weights", files.weights), ("clean_labels", files.clean_labels)):
        if stored.get(f"{name}_sha256") is None:
            continue
        if of is None:
            raise UserError(f"run {record.run_id}: it reads a file; name it by --{name.replace('_', '-')} FILE")
        paths[name] = of
    return paths


# Those that decide what else is there come first: what follows from them is not repeated.
STAGES: tuple[tuple[str, ...], ...] = (
    ("frozen", "protocol", "ruleset", "track", "data_path", "weights", "clean_labels"),
    ("model", "pretrained", "epochs", "batch_size", "limit_train"),
    ("noise_rate", "head", "meta_size", "image_size"),
)


def command_of(config: ResolvedConfig) -> str | None:
    """The command line of a configuration; None if no command line says all of it."""
    wanted = config.model_dump(mode="json")
    noise = wanted["noise"] if config.noise_file is None else f"{wanted['noise']}:{config.noise_file}"
    given: dict[str, Any] = {"method": config.method, "dataset": config.dataset, "noise": noise, "seed": config.seed}
    words = ["noisybench", "run"]
    words += [word for name, value in given.items() for word in (f"--{name}", str(value))]
    for stage in STAGES:
        known = _resolved(given)
        for name in stage:
            if known.get(name) == wanted[name] or wanted[name] is None:
                continue
            given[name] = wanted[name]
            option = f"--{name.replace('_', '-')}"
            words += [option] if wanted[name] is True else [option, str(wanted[name])]
    known, flat = flatten(_resolved(given)), flatten(wanted)
    for name, value in flat.items():
        if name.split(".")[0] in ENVIRONMENT_FIELDS or known.get(name) == value:
            continue
        override = (
            f"{name.replace('settings.', 'method.', 1) if name.startswith('settings.') else name}={_written(value)}"
        )
        given = merge(given, parse_override(override))
        words += ["--set", override]
    if config.output is not None:
        words += ["--output", str(config.output)]
    try:
        same = resolve_dict(given).run_id == config.run_id
    except UserError:
        same = False
    return shlex.join(words) if same else None


def _resolved(given: dict[str, Any]) -> dict[str, Any]:
    """What the cards make of what is given so far; nothing where it is not enough yet."""
    try:
        return resolve_dict(given).model_dump(mode="json")
    except UserError:
        return {}


def _written(value: Any) -> str:
    """A value of ``--set``: a bare word where that is read as the same text."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if parse_override(f"a={text}") == {"a": value} else json.dumps(value)


def run_again(record: RunRecord, files: Files, output: Path, progress: Any = None) -> RunRecord:
    """Run a record's configuration in a folder; go on with what was begun there.

    Raises:
        UserError: see :func:`config_again`, and whatever ends a run.
    """
    import noisybench

    return noisybench.run(config_again(record, files, output), resume=True, progress=progress)
