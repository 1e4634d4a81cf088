"""A checkpoint's file: tensors in safetensors, everything else as JSON in its header; written in one piece, checked
before use."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from noisybench.core.errors import DamagedCheckpoint, UserError, one_line
from noisybench.core.files import open_regular, remove_temporaries, replace_file
from noisybench.models.fingerprint import feed

# Version 2's hash covers all but the version: one that is wrong beside a right hash is damaged. A later version must
# have another hash.
SCHEMA_VERSION = 2


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint, ``step-NNN.safetensors``.

    Args:
        folder: the run's checkpoint folder.
        step: training steps done; orders checkpoints.
        state: nested dicts and lists of tensors and JSON values.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    skeleton = json.dumps(_take_out(state, (), tensors))
    metadata = {"schema_version": str(SCHEMA_VERSION), "state": skeleton, "sha256": _sha256(skeleton, tensors)}
    file = folder / f"step-{step:09d}.safetensors"
    with replace_file(file) as temporary:
        temporary.write_bytes(save_tensors(tensors, metadata))
    return file


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Read a checkpoint's state.

    Raises:
        DamagedCheckpoint: it cannot be read, or is not what was written.
        UserError: it is of another version.
    """
    try:
        with open_regular(file) as stream:
            content = stream.read()
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {"schema_version": "1"}  # which kept its JSON in a file beside it
        tensors = load_tensors(content)
    except (OSError, SafetensorError, UserError, ValueError, KeyError, RuntimeError, MemoryError) as error:
        raise DamagedCheckpoint(f"checkpoint {file}: cannot be read ({one_line(error)})") from error
    version = metadata.get("schema_version", "none")
    whole = "state" in metadata and _sha256(metadata["state"], tensors) == metadata.get("sha256")
    if version != str(SCHEMA_VERSION) and not whole and version.isdecimal():
        raise UserError(
            f"checkpoint {file}: schema version {version}, this release reads {SCHEMA_VERSION}; "
            f"finish the run with the release that began it, or start it in another --output"
        )
    if version != str(SCHEMA_VERSION):
        raise DamagedCheckpoint(f"checkpoint {file}: its schema version is damaged")
    if not whole:
        raise DamagedCheckpoint(f"checkpoint {file}: its content does not match its hash")
    try:
        state = _put_back(json.loads(metadata["state"]), tensors)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        what = f"{type(error).__name__}: {one_line(error)[:100]}"
        raise DamagedCheckpoint(f"checkpoint {file}: it holds something else than a run's state ({what})") from error
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"checkpoint {file}: it holds something else than a run's state")
    return state


def checkpoints(folder: Path) -> list[Path]:
    """The files of all checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*.safetensors"))


def delete_others(newest: Path, keep: int) -> None:
    """Delete all checkpoints but ``newest`` and the ones before it, ``keep`` in all, and what killed writers left.

    One with a higher step than the newest was damaged: the run went on from one before it.
    """
    found = checkpoints(newest.parent)
    kept = [file for file in found if file <= newest][-keep:]
    for file in found:
        if file not in kept:
            file.unlink()
    remove_temporaries(newest.parent)


def _sha256(skeleton: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(skeleton.encode())
    for name, tensor in sorted(tensors.items()):
        feed(digest, name, tensor)
    return digest.hexdigest()


def _take_out(value: Any, path: tuple[str, ...], tensors: dict[str, Tensor]) -> Any:
    """A copy of ``value`` with each tensor replaced by a reference, the tensor put under its path."""
    if isinstance(value, Tensor):
        name = "/".join(path)
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[key, _take_out(item, (*path, str(key)), tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_take_out(item, (*path, str(i)), tensors) for i, item in enumerate(value)]}
    return {"value": value}


def _put_back(value: Any, tensors: dict[str, Tensor]) -> Any:
    if "tensor" in value:
        return tensors[value["tensor"]]
    if "dict" in value:
        return {key: _put_back(item, tensors) for key, item in value["dict"]}
    if "list" in value:
        return [_put_back(item, tensors) for item in value["list"]]
    return value["value"]
