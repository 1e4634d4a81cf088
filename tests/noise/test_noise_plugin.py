"""A noise model of another package: from its entry point to the labels, and to methods that ask what noise it is."""

from __future__ import annotations

import numpy as np
import pytest
from two_network_parts import make_data, make_method

from noisybench.methods.ce import CrossEntropy
from noisybench.methods.context import UndeclaredError
from noisybench.methods.dividemix import DivideMix
from noisybench.noise import NoiseArtifact
from noisybench.spec import registry
from noisybench.spec.record import RunRecord

GROUP = "noisybench.noises"
MODULE = """
    from noisybench.noise import NoiseKind, NoiseTraits
    from noisybench.noise.by_class import symmetric

    def to_zero(request):
        noisy = request.labels.copy()
        noisy[: int(request.rate * len(noisy))] = 0
        return noisy, "the first of them are 0"

    TO_ZERO = NoiseKind("the first labels become 0", to_zero, traits=NoiseTraits(wrong_per_rate=0.9))
    EVEN = NoiseKind("as symmetric", symmetric, traits=NoiseTraits(symmetric=True))
    ODD = NoiseKind("the same labels, and nothing is said of them", symmetric)
    HALF = NoiseKind("the same labels", symmetric, traits=NoiseTraits(wrong_per_rate=0.5))
    SHORT = NoiseKind("too few labels", lambda request: (request.labels[:-1], "short"))
    FLOATS = NoiseKind("no whole numbers", lambda request: (request.labels / 1, "floats"))
    OUTSIDE = NoiseKind("no classes", lambda request: (request.labels + 1, "outside"))
    RAISES = NoiseKind("no labels", lambda request: {}["x"])
"""
NAMES = ("to_zero", "even", "odd", "half", "short", "floats", "outside", "raises")
SMALL = ("--limit-train", "300", "--epochs", "2", "--model", "noisybench_mlp", "--noise-rate", "0.4")


@pytest.fixture
def noises(plugin):
    plugin(
        "mine",
        {GROUP: {name.replace("_", "-"): f"my_noises:{name.upper()}" for name in NAMES}},
        {"my_noises.py": MODULE},
    )


def test_it_is_listed_shown_and_drawn(cli, noises, tmp_path):
    code, out, _ = cli("noises")
    assert code == 0 and "to-zero" in out and "the first labels become 0" in out and "not usable" not in out
    code, out, _ = cli("noises", "show", "to-zero")
    assert code == 0 and "takes a rate: true" in out and "wrong_per_rate: 0.9" in out
    file = tmp_path / "made.npz"
    code, out, _ = cli("noise", "make", "--noise", "to-zero", "--noise-rate", "0.25", "--output", file)
    assert code == 0 and "rule: the first of them are 0" in out
    made = NoiseArtifact.load(file)
    assert (made.noisy[: len(made.clean) // 4] == 0).all()
    assert np.array_equal(made.noisy[len(made.clean) // 4 :], made.clean[len(made.clean) // 4 :])


def trained(cli, folder, *arguments) -> RunRecord:
    code, _, err = cli("run", *SMALL, *arguments, "--output", folder)
    assert code == 0, err
    return RunRecord.load(folder / "result.json")


@pytest.mark.parametrize(("noise", "tau"), [("even", 0.4), ("half", 0.2), ("symmetric", 0.4), ("asymmetric", 0.2)])
def test_small_loss_selection_leaves_out_what_the_noise_says(cli, noises, tmp_path, noise, tau):
    """The share kept of whole batches of 20 in an epoch without a ramp is exactly 1 − τ."""
    settings = ("--set", "method.ramp_epochs=1", "--set", "batch_size=20", "--limit-train", "300")
    sizes = ("--meta-size", "20", "--set", "noisy_val_size=20", "--set", "clean_val_size=20")
    record = trained(cli, tmp_path / "run", "--method", "co-teaching", "--noise", noise, *settings, *sizes)
    assert record.curves["method/kept_fraction"] == pytest.approx([1 - tau] * 2, abs=1e-6)


def test_dividemix_follows_the_trait_and_not_the_name(cli, noises, tmp_path):
    """The same labels under other names give, bit for bit, what symmetric noise gives or the other rule's settings."""

    def weights(noise: str, *settings: str) -> str | None:
        of_method = [item for setting in ("warmup_epochs=1", *settings) for item in ("--set", f"method.{setting}")]
        folder = tmp_path / f"{noise}{len(settings)}"
        return trained(cli, folder, "--method", "dividemix", "--noise", noise, *of_method).fingerprints.weights

    symmetric = weights("symmetric")
    assert weights("even") == symmetric
    odd = weights("odd")
    assert odd != symmetric
    assert odd == weights("symmetric", "lambda_u=0.0", "confidence_penalty=true")


@pytest.mark.parametrize(
    ("noise", "said"),
    [
        (
            "short",
            "noise 'short' made labels that are int64 of shape (299,); they must be int64 of shape (300,) in 0..9",
        ),
        ("floats", "noise 'floats' made labels that are float64 of shape (300,); they must be int64"),
        ("outside", "noise 'outside' made labels in 1..10; they must be int64 of shape (300,) in 0..9"),
        ("raises", "noise 'raises' failed: KeyError: 'x'"),
    ],
)
def test_a_model_that_fails_is_one_line_and_nothing_is_written(cli, noises, tmp_path, noise, said):
    code, _, err = cli("run", *SMALL, "--noise", noise, "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and said in err
    assert not (tmp_path / "run").exists()


def test_a_broken_model_is_named_and_the_others_work(cli, plugin):
    plugin("strange", {GROUP: {"bad": "bad_noise:X", "symmetric": "bad_noise:X"}}, {"bad_noise.py": "X = 3"})
    code, out, _ = cli("noises")
    assert code == 0 and "pair-flip" in out
    reason = "is bad_noise:X, which is not an object of noisybench.noise.NoiseKind"
    assert f"not usable: bad of strange: {reason}\n" in out
    assert "not usable: symmetric of strange: noisybench has a noise 'symmetric' of its own" in out
    code, _, err = cli("run", "--noise", "bad", "--dry-run")
    assert (code, err) == (2, f"noisybench: noise 'bad' {reason}\n")
    assert cli("run", "--noise", "symmetric", "--dry-run")[0] == 0


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("NoiseKind(3, len)", "TypeError: a NoiseKind has a summary (text), make (a function) and traits"),
        ("NoiseKind('x', None)", "TypeError: a NoiseKind has a summary (text), make (a function) and traits"),
        ("NoiseKind('x', len, traits={})", "TypeError: a NoiseKind has a summary (text), make (a function) and traits"),
        ("NoiseKind('x', len, traits=NoiseTraits(1.5))", "ValueError: wrong_per_rate is 1.5; it must lie in [0, 1]"),
    ],
)
def test_a_model_that_is_none_is_named(cli, plugin, kind, reason):
    text = f"from noisybench.noise import NoiseKind, NoiseTraits\nX = {kind}\n"
    plugin("strange", {GROUP: {"bad": "bad_noise:X"}}, {"bad_noise.py": text})
    code, out, _ = cli("noises")
    assert code == 0 and "pair-flip" in out
    assert f"not usable: bad of strange: cannot be imported from bad_noise:X: {reason}" in out


def test_what_a_method_does_not_declare_it_does_not_learn():
    method = make_method(CrossEntropy, *make_data())
    with pytest.raises(UndeclaredError, match="noise_traits is read but not declared: add 'noise_kind'"):
        _ = method.context.noise_traits
    assert make_method(DivideMix, *make_data(), noise="asymmetric").context.noise_traits.wrong_per_rate == 0.5


def test_no_torch_is_imported_to_know_the_noise_models():
    import subprocess
    import sys

    code = (
        "import sys\nfrom noisybench.spec import registry\n"
        "kinds = [registry.load('noise', name) for name in registry.names('noise')]\n"
        "print(len(kinds), 'torch' in sys.modules, 'scipy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(registry.names("noise"))), "False", "False"]
    assert len(registry.names("noise")) == 19
