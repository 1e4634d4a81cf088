"""Layers with learning rates of their own: all but the classifier slower, and each layer slower than the one above."""

from __future__ import annotations

import copy
import json

import pytest
import torch
import torch.nn.functional as F
from small_method import small_method
from torch import nn

from noisybench.core.errors import UserError
from noisybench.methods import Method
from noisybench.methods.optimizers import layered_groups, rate_of, set_rate
from noisybench.models import NetworkSpec, create_network
from noisybench.spec import registry
from noisybench.spec.identity import run_id_of
from noisybench.spec.record import RunRecord
from noisybench.spec.values import OptimizerConfig

SMALL = ("--limit-train", "200", "--meta-size", "20", "--epochs", "2", "--model", "noisybench_cnn4")


def scales(network, **settings) -> dict[str, float]:
    groups = layered_groups(OptimizerConfig(**settings), network)
    by_weight = {id(weight): group["lr_scale"] for group in groups for weight in group["params"]}
    assert len(by_weight) == sum(len(group["params"]) for group in groups) == len(list(network.parameters()))
    return {name: by_weight[id(weight)] for name, weight in network.named_parameters()}


def made(name="test_vit"):
    return create_network(NetworkSpec(name, 10, 3, 32), seed=0)


@pytest.mark.parametrize("name", ["test_vit", "resnetv2_18", "noisybench_resnet20", "noisybench_lite0"])
def test_all_but_the_classifier_has_the_factor(name):
    network = made(name)
    head = {id(weight) for weight in network.get_classifier().parameters()}
    found = scales(network, backbone_lr_factor=0.1)
    assert found == {name: 1.0 if id(weight) in head else 0.1 for name, weight in network.named_parameters()}


@pytest.mark.parametrize("factor", [1.0, 0.1])
def test_a_transformers_layers_decay_as_beits_do(factor):
    found = scales(made(), layer_decay=0.5, backbone_lr_factor=factor)
    depth = 6
    for name, scale in found.items():
        if name.startswith(("patch_embed", "cls_token", "pos_embed")):
            assert scale == pytest.approx(factor * 0.5 ** (depth + 1)), name
        elif name.startswith("blocks."):
            assert scale == pytest.approx(factor * 0.5 ** (depth - int(name.split(".")[1]))), name
        elif name.startswith("head."):
            assert scale == 1.0, name


def test_a_step_is_the_rate_of_each_layer_times_its_gradient():
    context = small_method(Method).context
    context.optimizer_config = OptimizerConfig(lr=0.5, momentum=0.0, weight_decay=0.0, backbone_lr_factor=0.25)

    def initialise(number):
        return create_network(NetworkSpec("noisybench_cnn4", 4, 1, 8), seed=0)

    context.initialise = initialise
    network, other = context.make_network(), nn.Linear(2, 2).double()
    optimizer = context.make_optimizer(network, other)
    set_rate(optimizer, 0.2)
    assert rate_of(optimizer) == 0.2 and context.scheduled[-1] is optimizer
    before = copy.deepcopy(network)
    images, labels = torch.randn(6, 1, 8, 8, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0, 1])
    loss = F.cross_entropy(network(images), labels) + other(torch.ones(1, 2, dtype=torch.float64)).sum()
    weight = other.weight.detach().clone()
    gradients = torch.autograd.grad(F.cross_entropy(before(images), labels), list(before.parameters()))
    context.step(loss, optimizer)
    for (name, moved), old, gradient in zip(network.named_parameters(), before.parameters(), gradients, strict=True):
        rate = 0.2 if name.startswith("fc.") else 0.05
        torch.testing.assert_close(moved, old - rate * gradient)
    torch.testing.assert_close(other.weight, weight - 0.2)  # no network of the run: the whole rate


def test_without_settings_there_is_one_group():
    context = small_method(Method).context
    assert len(context.make_optimizer(context.make_network()).param_groups) == 1


def test_models_that_do_not_say_what_they_are_made_of_are_one_line():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 4), nn.Linear(4, 2))
    with pytest.raises(UserError, match="need a model that names its classifier, as timm's do by get_classifier; Seq"):
        layered_groups(OptimizerConfig(backbone_lr_factor=0.1), plain)
    plain.get_classifier = lambda: plain[2]
    assert scales(plain, backbone_lr_factor=0.5)["1.weight"] == 0.5
    with pytest.raises(UserError, match="optimizer.layer_decay: timm knows no layers of Sequential"):
        layered_groups(OptimizerConfig(layer_decay=0.5), plain)


def test_it_is_another_run_under_the_schedule_of_the_classifier(cli, tmp_path):
    factor = ("--set", "optimizer.backbone_lr_factor=0.1")
    plain = json.loads(cli("run", *SMALL, "--dry-run")[1])
    for name in ("backbone_lr_factor", "layer_decay"):
        del plain["optimizer"][name]
    records = {}
    for name, more in {"plain": (), "factor": factor}.items():
        assert cli("run", *SMALL, *more, "--output", tmp_path / name)[0] == 0
        records[name] = RunRecord.load(tmp_path / name / "result.json")
    assert records["plain"].run_id == run_id_of(plain) != records["factor"].run_id
    assert records["plain"].curves["learning_rate"] == records["factor"].curves["learning_rate"]
    assert records["plain"].fingerprints.weights != records["factor"].fingerprints.weights


LOOKING_AHEAD = ("l2b", "l2r", "meta-weight-net", "metalabelnet", "mlc", "mlnt", "mslg")


def test_which_methods_look_ahead():
    ahead = {name for name in registry.method_names() if registry.load_method(name).looks_ahead}
    assert set(LOOKING_AHEAD) <= ahead and not ahead & {"ce", "finetune", "elr", "dividemix", "co-teaching"}


@pytest.mark.parametrize("method", LOOKING_AHEAD)
@pytest.mark.parametrize("setting", ["backbone_lr_factor=0.1", "layer_decay=0.7"])
def test_methods_that_look_ahead_refuse_it(cli, tmp_path, method, setting):
    arguments = ("--method", method, "--set", f"optimizer.{setting}", "--output", tmp_path / "run")
    code, _, err = cli("run", *SMALL, *arguments)
    assert code == 2 and err.count("\n") == 1 and not (tmp_path / "run").exists()
    assert f"method '{method}' looks ahead by a step of one rate for all layers: leave optimizer.backbone" in err
