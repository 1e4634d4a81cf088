"""A network of another package, from its entry point to a trained run."""

from __future__ import annotations

import pytest
import timm

from noisybench.spec.record import RunRecord

GROUP = "noisybench.models"
MODULE = """
    import torch
    from timm.models import register_model
    from torch import nn

    def my_linear(pretrained=False, num_classes=10, in_chans=3, img_size=32, **others):
        '''One linear layer.

        Nothing else.
        '''
        return nn.Sequential(nn.Flatten(), nn.Linear(in_chans * img_size**2, num_classes))

    @register_model
    def strange_registered(pretrained=False, num_classes=10, in_chans=3, **others):
        '''Registered with timm by itself.'''
        return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_chans, num_classes))

    def no_network(pretrained=False, num_classes=10, in_chans=3, **others):
        return "a network"

    def features(pretrained=False, num_classes=10, in_chans=3, **others):
        return nn.Flatten()

    def raises(pretrained=False, num_classes=10, in_chans=3, **others):
        raise ValueError("no memory")

    class Pair(nn.Module):
        def __init__(self, num_classes, in_chans, when):
            super().__init__()
            self.when = when
            self.body = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(16 * in_chans, num_classes))

        def forward(self, images):
            logits = self.body(images)
            if self.when == "training" and not self.training:
                return logits
            return {"logits": logits} if self.when == "dict" else (logits, logits)

    def pair(pretrained=False, num_classes=10, in_chans=3, **others):
        return Pair(num_classes, in_chans, "always")

    def table(pretrained=False, num_classes=10, in_chans=3, **others):
        return Pair(num_classes, in_chans, "dict")

    def auxiliary(pretrained=False, num_classes=10, in_chans=3, **others):
        return Pair(num_classes, in_chans, "training")

    def strict(pretrained=False, num_classes=10, in_chans=3):
        return nn.Identity()
"""
POINTS = {
    "my-linear": "my_nets:my_linear",
    "strange_registered": "my_nets:strange_registered",
    "no_network": "my_nets:no_network",
    "some_features": "my_nets:features",
    "raises": "my_nets:raises",
    "strict": "my_nets:strict",
    "pair": "my_nets:pair",
    "table": "my_nets:table",
    "auxiliary": "my_nets:auxiliary",
    "resnet18": "my_nets:my_linear",
    "noisybench_mlp": "my_nets:my_linear",
    "dotted.name": "my_nets:my_linear",
}
SMALL = ("--limit-train", "300", "--epochs", "1")


@pytest.fixture
def models(plugin):
    plugin("mine", {GROUP: POINTS}, {"my_nets.py": MODULE})
    yield
    from timm.models import _registry

    for name in (
        "my-linear",
        "strange_registered",
        "no_network",
        "some_features",
        "raises",
        "pair",
        "table",
        "auxiliary",
    ):
        _registry._model_entrypoints.pop(name, None)


@pytest.mark.parametrize("name", ["my-linear", "strange_registered"])
def test_it_is_listed_shown_and_trained(cli, models, tmp_path, name):
    code, out, _ = cli("models")
    assert code == 0 and "One linear layer." in out and "Registered with timm by itself." in out
    assert "noisybench_cnn8" in out
    code, out, _ = cli("models", "show", name)
    assert code == 0 and f"name: {name}" in out
    code, _, err = cli("run", *SMALL, "--model", name, "--output", tmp_path / "run")
    assert code == 0, err
    record = RunRecord.load(tmp_path / "run" / "result.json")
    assert record.config["model"] == name and record.status == "completed"


def test_those_that_cannot_be_used_are_named(cli, models):
    code, out, _ = cli("models")
    assert code == 0
    told = {line.split()[2]: line for line in out.splitlines() if line.startswith("not usable: ")}
    assert sorted(told) == ["dotted.name", "noisybench_mlp", "resnet18", "strict"]
    assert "has a dot in its name" in told["dotted.name"]
    assert "noisybench has a model 'noisybench_mlp' of its own" in told["noisybench_mlp"]
    assert told["resnet18"] == "not usable: resnet18 of mine: has the name of a model of timm's: rename it"
    assert "is my_nets:strict, which is not a function that makes a network" in told["strict"]
    assert timm.model_entrypoint("resnet18").__module__ == "timm.models.resnet"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no_network", "model 'no_network' cannot be made: 'str' object has no attribute"),
        ("some_features", "model 'some_features' gives (1, 64) for one image, where logits of shape (1, 10) must be"),
        ("raises", "model 'raises' cannot be made: no memory"),
        ("pair", "model 'pair' gives tuple for one image, where logits of shape (1, 10) must be"),
        ("table", "model 'table' gives dict for one image, where logits of shape (1, 10) must be"),
        (
            "auxiliary",
            "model 'auxiliary' gives tuple for two images in training, where logits of shape (2, 10) must be",
        ),
        ("strict", "model 'strict' is my_nets:strict, which is not a function that makes a network"),
        ("resnet18", "model 'resnet18' has the name of a model of timm's: rename it"),
        ("my-liner", "unknown model 'my-liner': did you mean my-linear"),
    ],
)
def test_one_that_makes_no_network_is_one_line(cli, models, tmp_path, name, said):
    code, _, err = cli("run", *SMALL, "--model", name, "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and said in err
    assert not (tmp_path / "run").exists()


def test_a_broken_one_leaves_the_others(cli, plugin, tmp_path):
    plugin("strange", {GROUP: {"bad_net": "bad_nets:net"}}, {"bad_nets.py": "raise SystemExit(1)"})
    code, out, _ = cli("models")
    assert code == 0 and "noisybench_mlp" in out
    assert "not usable: bad_net of strange: cannot be imported from bad_nets:net: SystemExit: 1" in out
    assert cli("run", *SMALL, "--model", "noisybench_mlp", "--output", tmp_path / "run")[0] == 0
