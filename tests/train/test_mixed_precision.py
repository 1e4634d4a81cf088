"""bfloat16 through Accelerate: networks compute in it, everything else stays float32."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

import noisybench
from noisybench.core.errors import UserError
from noisybench.meta import label_meta_gradient
from noisybench.models import NetworkSpec, create_network
from noisybench.parallel.connect import make_accelerator
from noisybench.parallel.world import World
from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve
from noisybench.train.checkpoint_file import checkpoints, load_checkpoint


@pytest.fixture
def networks():
    """The same network in float32 and in bfloat16, after ten steps of cross-entropy on digits."""

    def make():
        return create_network(NetworkSpec("noisybench_cnn4", num_classes=10, channels=1, image_size=8), seed=0)

    plain, mixed = make(), make()
    images, labels = digits()
    optimizer = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9)
    for rows in torch.arange(320).split(32):
        optimizer.zero_grad()
        F.cross_entropy(plain(images[rows]), labels[rows]).backward()
        optimizer.step()
    mixed.load_state_dict(plain.state_dict())
    return plain, World(make_accelerator(mixed_precision="bf16")).prepare(mixed)


def digits():
    """Normalised images (n×1×8×8) and labels."""
    found = load_digits()
    return (torch.tensor(found.images / 16, dtype=torch.float32)[:, None] - 0.305) / 0.376, torch.tensor(found.target)


def cosine(a, b):
    return float(F.cosine_similarity(a.flatten(), b.flatten(), dim=0))


def test_the_network_computes_in_bfloat16_and_returns_float32(networks):
    images, _ = digits()
    seen = []
    networks[1].fc.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    networks[1].convolutions[0].register_forward_hook(lambda *found: seen.append(found[-1]))
    logits = networks[1](images[:4])
    assert seen[0].dtype == torch.bfloat16 and logits.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in networks[1].parameters())


def test_the_meta_gradient_is_right_in_bfloat16(networks):
    images, labels = digits()
    noisy, meta = slice(1000, 1064), slice(1200, 1264)
    label_logits = 10.0 * F.one_hot(labels[noisy].roll(1), 10)
    given = (images[noisy], label_logits, images[meta], labels[meta])
    exact = label_meta_gradient(networks[0], *given, inner_lr=0.5)
    jvp, double_backward = (
        label_meta_gradient(networks[1], *given, inner_lr=0.5, engine=engine) for engine in ("jvp", "double-backward")
    )
    assert jvp.dtype == torch.float32
    # Both engines differentiate the same rounded network; float32 is a slightly different one.
    assert (jvp - double_backward).norm() < 0.02 * double_backward.norm()
    assert cosine(jvp, exact) > 0.99
    assert float(jvp.norm()) == pytest.approx(float(exact.norm()), rel=0.05)


@pytest.mark.parametrize("method, settings", [("ce", {}), ("mslg", {"warmup_epochs": 3})])
def test_a_run_in_bfloat16_learns(method, settings, tmp_path):
    config = RunConfig(
        method=method,
        noise="none",
        noise_rate=0.0,
        settings=settings,
        epochs=6,
        limit_train=700,
        mixed_precision="bf16",
        output=tmp_path / "run",
    )
    record = noisybench.run(config)
    assert record.metrics["test_accuracy_last"] > 0.8
    assert record.config["mixed_precision"] == "bf16"
    saved = load_checkpoint(checkpoints(tmp_path / "run" / "checkpoints")[-1])["method"]
    kept = [*saved["network"].values(), *saved["store"].values()]
    assert {tensor.dtype for tensor in kept if tensor.is_floating_point()} == {torch.float32}
    # Another run of this process is in full precision again.
    other = noisybench.run(config.model_copy(update={"mixed_precision": "no", "output": tmp_path / "other"}))
    assert other.fingerprints.weights != record.fingerprints.weights and other.run_id != record.run_id


def test_what_precision_is_part_of_the_run_id():
    def made(**given):
        return resolve(RunConfig(**given))

    plain = made()
    assert "mixed_precision" not in plain.science()
    assert made(mixed_precision="bf16").run_id != plain.run_id
    assert "channels_last" not in plain.science() and made(channels_last=True).run_id != plain.run_id
    with pytest.raises(UserError, match="mixed_precision bf16 is for precision float32, not float64"):
        made(mixed_precision="bf16", precision="float64")
