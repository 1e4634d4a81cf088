"""Forward passes that bilevel methods need: with other weights, along a tangent, without side effects."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from noisybench.meta.replay import GraphReplay, Output, Recorder, TangentReplay
from noisybench.meta.second_order import TwiceDifferentiable

Weights = dict[str, Tensor]


@dataclass(frozen=True)
class NoisyForward:
    """One forward pass of the noisy batch, whose graph serves the look-ahead and the base step alike.

    Attributes:
        images: N×C×H×W, the noisy batch.
        logits: N×C, with their graph.
        weights: the trainable parameters by name, as they were used.
        features: N×D, detached input of the classifier; only where it was asked for.
        random_state: the generators' states before the pass, so that a later pass draws the same dropout masks.
        outputs: of its linear operations, where they were kept.
    """

    images: Tensor
    logits: Tensor
    weights: Weights
    features: Tensor | None
    random_state: list[Tensor]
    outputs: list[Output] | None = None


def noisy_forward(
    model: nn.Module,
    images: Tensor,
    *,
    update_buffers: bool = True,
    features: bool = False,
    keep_outputs: bool = False,
    twice: bool = False,
) -> NoisyForward:
    """Run the noisy batch through the model once, in whatever mode the model is in.

    Args:
        model: maps N×C×H×W images to N×C logits.
        images: the batch.
        update_buffers: let the pass move BatchNorm's running statistics, as a training step does.
        features: keep the classifier's input (the ``head`` engine needs it).
        keep_outputs: keep the outputs of linear operations: :func:`logits_along` is then spared a third of its work,
            and :func:`logits_again` gives the logits with a new graph once the first one is used up.
        twice: build a graph that has second derivatives, and cheap ones (:mod:`noisybench.meta.second_order`).
    """
    weights = trainable(model)
    random_state = _random_state(images)
    with contextlib.ExitStack() as stack:
        kept = stack.enter_context(classifier_inputs(model)) if features else []
        recorder = stack.enter_context(Recorder()) if keep_outputs else None
        if twice:
            stack.enter_context(plain_attention())
            stack.enter_context(TwiceDifferentiable())
        logits = model(images) if update_buffers else functional_logits(model, weights, images)
    outputs = None if recorder is None else recorder.outputs
    return NoisyForward(images, logits, weights, kept[0].detach() if features else None, random_state, outputs)


def logits_again(model: nn.Module, forward: NoisyForward) -> Tensor:
    """The logits of ``forward`` (N×C) with a new graph, for a loss at the same weights. Needs its kept outputs.

    No buffer moves: the first pass has moved them.

    Raises:
        ValueError: the outputs were not kept.
    """
    if forward.outputs is None:
        raise ValueError("this needs a forward pass with keep_outputs=True")
    with replayed(forward), GraphReplay(forward.outputs):
        return functional_logits(model, forward.weights, forward.images)


def trainable(model: nn.Module) -> Weights:
    """The parameters that require a gradient, by name."""
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def functional_logits(
    model: nn.Module, weights: Weights, images: Tensor, *, buffers: dict[str, Tensor] | None = None
) -> Tensor:
    """The model's logits (N×C) at other weights. Its own parameters and buffers are left as they are.

    Args:
        weights: replacements by parameter name; parameters not named keep their values.
        buffers: replacements by buffer name, which the pass changes (BatchNorm's running statistics) where the model
            would change its own; copies that are thrown away if not given.
    """
    return functional_call(model, {**(copied_buffers(model) if buffers is None else buffers), **weights}, (images,))


def copied_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the model's buffers by name."""
    return {name: buffer.clone() for name, buffer in model.named_buffers()}


def logits_along(model: nn.Module, forward: NoisyForward, direction: Weights) -> Tensor:
    """ȯ = J_θ o · v (N×C): the derivative of the noisy batch's logits along a direction in weight space.

    One Jacobian-vector product in forward mode, at the weights and dropout masks of ``forward``. No graph is built.
    """
    with contextlib.ExitStack() as stack:
        for context in (torch.no_grad(), forward_ad.dual_level(), plain_attention(), replayed(forward)):
            stack.enter_context(context)
        if forward.outputs is not None:
            stack.enter_context(TangentReplay(forward.outputs))
        duals = {
            name: forward_ad.make_dual(weight.detach(), direction[name].to(weight.dtype))
            for name, weight in forward.weights.items()
        }
        logits = functional_logits(model, duals, forward.images)
        tangent = forward_ad.unpack_dual(logits).tangent
    return torch.zeros_like(logits) if tangent is None else tangent


def plain_attention() -> contextlib.AbstractContextManager[None]:
    """Attention written out: the fused kernels have neither forward-mode nor second derivatives."""
    return sdpa_kernel(SDPBackend.MATH)


@contextlib.contextmanager
def classifier_inputs(model: nn.Module) -> Iterator[list[Tensor]]:
    """Collect the input of the model's classifier during the passes made inside."""
    kept: list[Tensor] = []
    handle = classifier(model).register_forward_pre_hook(lambda _, arguments: kept.append(arguments[0]))
    try:
        yield kept
    finally:
        handle.remove()


def classifier(model: nn.Module) -> nn.Linear:
    """The final linear layer: ``get_classifier()`` where the model has it (timm), else the last ``nn.Linear``.

    Raises:
        ValueError: the model has none.
    """
    named = getattr(model, "get_classifier", None)
    if named is not None:
        found = named()
    else:
        found = next((m for m in reversed(list(model.modules())) if isinstance(m, nn.Linear)), None)
    if not isinstance(found, nn.Linear):
        ends = f"{type(model).__name__} ends in {' '.join(str(found).split())[:80]}"
        raise ValueError(f"this needs a model whose classifier is one nn.Linear; {ends}")
    return found


def _random_state(images: Tensor) -> list[Tensor]:
    states = [torch.get_rng_state()]
    if images.is_cuda:
        states.append(torch.cuda.get_rng_state(images.device))
    return states


@contextlib.contextmanager
def replayed(forward: NoisyForward) -> Iterator[None]:
    """Draw the same random numbers as ``forward`` did; the generators are put back afterwards."""
    now = _random_state(forward.images)
    _set_random_state(forward.images, forward.random_state)
    try:
        yield
    finally:
        _set_random_state(forward.images, now)


def _set_random_state(images: Tensor, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1], images.device)
