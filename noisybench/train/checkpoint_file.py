"""A checkpoint's file: tensors in safetensors, everything else as JSON in its header; written in one piece, checked
before use."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from noisybench.core.errors import DamagedCheckpoint, UserError, one_line
from noisybench.core.files import remove_temporaries, replace_file

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
        with safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {"schema_version": "1"}  # which kept its JSON in a file beside it
        tensors = load_tensors(file.read_bytes())
    except (OSError, SafetensorError) as error:
        raise DamagedCheckpoint(f"checkpoint {file}: cannot be read ({one_line(error)})") from error
    if metadata.get("schema_version") != str(SCHEMA_VERSION):
        raise UserError(
            f"checkpoint {file}: schema version {metadata.get('schema_version')}, this release reads {SCHEMA_VERSION}; "
            f"finish the run with the release that began it, or start it in another --output"
        )
    if "state" not in metadata or _sha256(metadata["state"], tensors) != metadata.get("sha256"):
        raise DamagedCheckpoint(f"checkpoint {file}: its content does not match its hash")
    return _put_back(json.loads(metadata["state"]), tensors)


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


def weights_hash(modules: dict[str, nn.Module]) -> str:
    """sha256 over names, dtypes, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for module_name, module in sorted(modules.items()):
        for name, tensor in sorted(module.state_dict().items()):
            _feed(digest, f"{module_name}.{name}", tensor)
    return digest.hexdigest()


def state_hash(state: dict[str, Any], without: Iterable[str]) -> str:
    """sha256 over the names and values of a method's state: store columns, trained rows, optimizers, numbers.

    Args:
        state: as a method's ``state_dict`` gives it.
        without: entries to leave out: the modules, which have a hash of their own.
    """
    digest, left_out = hashlib.sha256(), set(without)
    for name, value in sorted(state.items()):
        if name not in left_out:
            _feed_all(digest, name, value)
    return digest.hexdigest()


def _feed_all(digest: hashlib._Hash, name: str, value: Any) -> None:
    if isinstance(value, Tensor):
        _feed(digest, name, value)
    elif isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        digest.update(f"{name} {len(value)}\n".encode())
        for key, item in sorted(((str(key), item) for key, item in items), key=lambda pair: pair[0]):
            _feed_all(digest, f"{name}.{key}", item)
    else:
        digest.update(f"{name} {value!r}\n".encode())


def _sha256(skeleton: str, tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256(skeleton.encode())
    for name, tensor in sorted(tensors.items()):
        _feed(digest, name, tensor)
    return digest.hexdigest()


def _feed(digest: hashlib._Hash, name: str, tensor: Tensor) -> None:
    digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    digest.update(flat.view(torch.uint8).numpy().data)


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
