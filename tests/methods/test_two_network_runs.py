"""Short whole runs of the two-network methods: the record, and that an interrupted run ends as an unbroken one."""

from __future__ import annotations

import pytest

import noisybench
from noisybench.core.errors import UserError
from noisybench.spec import registry
from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve_dict
from noisybench.train.progress import Progress

SMALL = {"limit_train": 200, "meta_size": 0, "noisy_val_size": 20, "clean_val_size": 20, "epochs": 3}
METHODS = {
    "co-teaching": {},
    "co-teaching-plus": {"init_epochs": 1},
    "jocor": {},
    "dividemix": {"warmup_epochs": 1, "loss_history": 2},
}


class Interrupt(Progress):
    """Stops a run after its second epoch."""

    def epoch(self, row):
        if row["epoch"] == 1:
            raise KeyboardInterrupt


def config(method, folder):
    return RunConfig(method=method, noise_rate=0.4, settings=METHODS[method], output=folder, **SMALL)


@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_ends_as_an_unbroken_one(method, tmp_path):
    whole = noisybench.run(config(method, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        noisybench.run(config(method, tmp_path / "broken"), progress=Interrupt())
    resumed = noisybench.run(config(method, tmp_path / "broken"), resume=True)
    assert resumed.fingerprints == whole.fingerprints
    assert resumed.curves == whole.curves
    assert resumed.metrics == whole.metrics
    assert set(whole.heads) == {"ensemble", "network1", "network2"}
    assert whole.heads["ensemble"]["test_accuracy_last"] == whole.metrics["test_accuracy_last"]
    assert whole.information_used.noise_prior == ["noise_kind", "noise_rate"]
    assert whole.metrics["noise_detection_auroc"] > 0.5


def test_kept_fractions_of_a_run_follow_the_schedule(tmp_path):
    record = noisybench.run(config("co-teaching", tmp_path / "run"))
    # 160 rows in batches of 64, 64 and 32 at tau = 0.4 (T_k = 10): R = 0, 0.0444, 0.0889 keep floor((1 - R)·N).
    expected = [1.0, (61 + 61 + 30) / 160, (58 + 58 + 29) / 160]
    assert record.curves["method/kept_fraction"] == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("ruleset", ["paper", "blind"])
@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_every_recipe_is_a_valid_configuration(method, ruleset, dataset):
    assert resolve_dict({"method": method, "ruleset": ruleset, "dataset": dataset}).method == method


def test_the_mslg_authors_variant_is_set_under_their_protocol():
    found = resolve_dict({"method": "co-teaching", "dataset": "cifar10", "protocol": "authors"})
    settings = {name: found.settings[name] for name in ("variant", "forget_rate", "ramp_epochs", "ramp_exponent")}
    assert settings == {
        "variant": "mslg-baseline",
        "forget_rate": 0.2,
        "ramp_epochs": 10,
        "ramp_exponent": 0.2,
    }
    assert found.optimizer.name == "sgd" and found.settings["beta1_switch_epoch"] == "never"
    sealed = resolve_dict({"method": "co-teaching", "dataset": "cifar10"})
    assert sealed.settings["variant"] == "published" and sealed.optimizer.name == "adam"


def test_wrong_settings_are_refused():
    with pytest.raises(UserError, match="method.beta1_switch_epoch"):
        resolve_dict({"method": "co-teaching", "settings": {"beta1_switch_epoch": "soon"}})
    with pytest.raises(UserError, match="method.lambda_v.*method.lambda_u"):
        resolve_dict({"method": "dividemix", "settings": {"lambda_v": 1}})


@pytest.mark.parametrize("method", METHODS)
def test_claims_are_sourced(method):
    card = registry.method_card(method)
    assert card.paper is not None and card.quirks and card.claims
    assert all(claim.protocol and claim.source for claim in card.claims)
    assert set(card.recipes) - {"synthetic"} == set(card.recipe_sources)
