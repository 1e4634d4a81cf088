"""Checkpoints: tensors in safetensors, everything else in JSON; written in one piece, checked before use."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from noisybench.errors import UserError
from noisybench.files import replace_file, write_json

SCHEMA_VERSION = 1


def save_checkpoint(folder: Path, step: int, state: dict[str, Any]) -> Path:
    """Write a checkpoint: ``step-NNN.safetensors`` first, then ``step-NNN.json``, which makes it valid.

    Args:
        folder: the run's checkpoint folder.
        step: training steps done; orders checkpoints.
        state: nested dicts and lists of tensors and JSON values.

    Returns:
        The JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors: dict[str, Tensor] = {}
    skeleton = _take_out(state, (), tensors)
    content = save_tensors(tensors)
    stem = folder / f"step-{step:09d}"
    with replace_file(stem.with_suffix(".safetensors")) as temporary:
        temporary.write_bytes(content)
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "step": step,
        "sha256": hashlib.sha256(content).hexdigest(),
        "state": skeleton,
    }
    write_json(stem.with_suffix(".json"), manifest)
    return stem.with_suffix(".json")


def load_checkpoint(manifest_file: Path) -> dict[str, Any]:
    """Read a checkpoint's state.

    Raises:
        UserError: it is damaged or of another version.
    """
    try:
        manifest = json.loads(manifest_file.read_text(encoding="utf-8"))
        content = manifest_file.with_suffix(".safetensors").read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"checkpoint {manifest_file}: unreadable ({error})") from error
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"checkpoint {manifest_file}: schema version {manifest.get('schema_version')}, "
            f"this release reads {SCHEMA_VERSION}"
        )
    if hashlib.sha256(content).hexdigest() != manifest.get("sha256"):
        raise UserError(f"checkpoint {manifest_file}: the tensors do not match their hash; the file is damaged")
    return _put_back(manifest["state"], load_tensors(content))


def checkpoints(folder: Path) -> list[Path]:
    """The JSON files of all checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*.json"))


def delete_old(folder: Path, keep: int) -> None:
    """Delete all but the newest ``keep`` checkpoints."""
    for manifest in checkpoints(folder)[:-keep]:
        manifest.unlink()
        manifest.with_suffix(".safetensors").unlink(missing_ok=True)


def weights_hash(modules: dict[str, nn.Module]) -> str:
    """sha256 over names, dtypes, shapes and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for module_name, module in sorted(modules.items()):
        for name, tensor in sorted(module.state_dict().items()):
            digest.update(f"{module_name}.{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
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
