"""Weights of a file, read as tensors alone, and put into a network once every key and shape is seen to fit."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.models import adapt_input_conv, load_state_dict
from timm.models import model_entrypoint as entrypoint_of
from torch import Tensor, nn

from noisybench.core.errors import UserError, one_line
from noisybench.core.files import file_sha256

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
NAMED = 3  # keys of each kind that a message names


@dataclass(frozen=True)
class Weights:
    """What a file of weights holds.

    Attributes:
        name: of the file, for messages; no path.
        tensors: by their names in the file, on the CPU.
        notes: lines that a user should read; filled when they are put into a network.
    """

    name: str
    tensors: Mapping[str, Tensor] = field(repr=False, compare=False)
    notes: list[str] = field(default_factory=list, compare=False)


def read_weights(file: Path, sha256: str | None = None) -> Weights:
    """The tensors of a file: safetensors, or what ``torch.save`` made of a state dict, read without any code in it.

    Of a training checkpoint the averaged weights are taken, else the network's, as timm does.

    Args:
        sha256: what the file's hash must be; None asks for none.

    Raises:
        UserError: there is no such file, it is damaged, was changed, or holds no weights.
    """
    where = f"--weights {file}"
    if file.suffix not in SUFFIXES:
        raise UserError(f"{where}: give a file of weights, whose name ends in {', '.join(SUFFIXES)}")
    found = file_sha256(file)
    if sha256 is not None and found != sha256:
        raise UserError(f"{where}: the file was changed (sha256 {found[:16]}…, not {sha256[:16]}…)")
    return Weights(file.name, _tensors(file, where))


def _tensors(file: Path, where: str) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch says of old formats
            tensors = load_state_dict(str(file), device="cpu", weights_only=True)
    except AttributeError:  # no table at all
        tensors = {}
    except Exception as error:  # readers of damaged files raise nearly anything
        if "allowlist" in str(error):
            raise UserError(
                f"{where}: holds Python objects besides tensors, which are not read; save model.state_dict() alone"
            ) from error
        reason = one_line(error)[:120]
        raise UserError(f"{where}: damaged, or no file of weights as its name says ({reason})") from error
    if not (isinstance(tensors, dict) and tensors and all(isinstance(each, Tensor) for each in tensors.values())):
        raise UserError(f"{where}: holds no state dict, which is a table of tensors by name; save model.state_dict()")
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UserError(f"{where}: {name} holds values that are no finite numbers: the file is damaged")
    return tensors


def load_weights(network: nn.Module, weights: Weights, model: str) -> None:
    """Put weights into a network. A head of another number of classes stays as it is in the network, which is noted.

    A first convolution for colour images is made one for grey images as timm does, by the sum over channels.

    Args:
        model: the network's name.

    Raises:
        UserError: keys are missing or unexpected, or shapes differ; names them.
    """
    own = network.state_dict()
    given = _as_timm_names_them(network, weights, model)
    notes = _fit_head(network, own, given) + _fit_channels(network, own, given)
    wrong = _differences(own, given)
    if wrong:
        raise UserError(f"weights {weights.name}: not of model {model!r}: {'; '.join(wrong)}")
    network.load_state_dict(given, strict=False)  # a file may lack BatchNorms' counts of batches
    for note in notes:
        if note not in weights.notes:
            weights.notes.append(note)


def _as_timm_names_them(network: nn.Module, weights: Weights, model: str) -> dict[str, Any]:
    """The tensors under the network's names: other layouts are translated by the architecture's own function."""
    given = dict(weights.tensors)
    translate = _translator(network, model)
    if translate is None:
        return given
    try:
        return dict(translate(given, network))
    except Exception as error:  # it was written for files of this architecture
        reason = f"{type(error).__name__}: {one_line(error)[:120]}"
        raise UserError(f"weights {weights.name}: not of model {model!r} ({reason})") from error


def _translator(network: nn.Module, model: str) -> Callable[..., Mapping[str, Tensor]] | None:
    configuration = getattr(network, "pretrained_cfg", None) or {}
    architecture = configuration.get("architecture") or model.split(".")[0]
    try:
        module = sys.modules[entrypoint_of(architecture).__module__]
    except (KeyError, RuntimeError):  # timm does not know it
        return None
    return getattr(module, "checkpoint_filter_fn", None)


def head_names(network: Any) -> tuple[str, ...]:
    """The names of a network's classifiers, by timm's configuration of it, else by what it says itself."""
    named = (getattr(network, "pretrained_cfg", None) or {}).get("classifier")
    if named:
        return (named,) if isinstance(named, str) else tuple(named)
    classifier = network.get_classifier() if hasattr(network, "get_classifier") else None
    return tuple(name for name, module in network.named_modules() if module is classifier and name)


def _fit_head(network: nn.Module, own: Mapping[str, Tensor], given: dict[str, Any]) -> list[str]:
    """Leave a head that does not fit out of what is given, and take the network's own."""
    starts = tuple(f"{name}." for name in head_names(network))
    if not starts:
        return []
    wanted = {name: tensor for name, tensor in own.items() if name.startswith(starts)}
    found = {name: tensor for name, tensor in given.items() if name.startswith(starts)}
    if {n: t.shape for n, t in wanted.items()} == {n: t.shape for n, t in found.items()}:
        return []
    for name in found:
        del given[name]
    given |= wanted
    held = f"its head of {_classes(found)} classes is"
    made = f"a new one of {_classes(wanted)} classes" if wanted else None
    if made is None:
        return [f"{held} left out"] if found else []
    return [f"{held} replaced by {made}" if found else f"it holds no head: there is {made}"]


def _classes(head: Mapping[str, Tensor]) -> int:
    return next((tensor.shape[0] for tensor in head.values() if tensor.dim()), 0)


def _fit_channels(network: nn.Module, own: Mapping[str, Tensor], given: dict[str, Any]) -> list[str]:
    first = (getattr(network, "pretrained_cfg", None) or {}).get("first_conv")
    notes = []
    for name in (first,) if isinstance(first, str) else first or ():
        key = f"{name}.weight"
        if key not in own or key not in given or own[key].dim() != 4 or given[key].dim() != 4:
            continue
        (_, to, *_), (_, of, *_) = own[key].shape, given[key].shape
        if of == 3 and to == 1 and own[key].shape[2:] == given[key].shape[2:]:
            given[key] = adapt_input_conv(to, given[key])
            notes.append("its first convolution is for colour images: summed over channels for grey ones")
    return notes


def _differences(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """In words, what keeps tensors from being a network's; empty if nothing does."""
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    other = [
        f"{name} is {_shape(given[name])}, not {_shape(own[name])}"
        for name in own
        if name in given and own[name].shape != given[name].shape
    ]
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    return [f"{len(names)} of {len(own)} keys {kind} ({_some(names)})" for kind, names in kinds.items() if names]


def _some(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "a number"
