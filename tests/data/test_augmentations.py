"""Augmentations against torchvision's, their keys against SHA-256 by hand, and one of another package."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as transforms

import noisybench
from noisybench.core.files import canonical_json
from noisybench.data.augment import Augmenter
from noisybench.spec.identity import run_id_of
from noisybench.spec.layers import resolve_dict
from noisybench.spec.record import RunRecord
from noisybench.spec.values import AugmentConfig

CPU = torch.device("cpu")
SAMPLES, OCCASION = 60, (3, 0, 1)  # epoch, pass, view
GROUP = "noisybench.augmentations"


def images(side: int = 8) -> torch.Tensor:
    drawn = np.random.default_rng(5).integers(1, 256, (SAMPLES, 3, side, side), dtype=np.uint8)
    return torch.from_numpy(drawn)


def augmented(seed: int = 9, purpose: str = "augment", occasion: tuple[int, ...] = OCCASION, **on) -> torch.Tensor:
    return Augmenter(AugmentConfig(**on), SAMPLES, seed, purpose, CPU)(images(), torch.arange(SAMPLES), occasion)


def key(*parts: int | str) -> int:
    digest = hashlib.sha256(json.dumps([*parts]).encode()).digest()
    return sum(byte << (8 * place) for place, byte in enumerate(digest[:8]))


def uniforms(name: str, count: int, seed: int = 9, purpose: str = "augment") -> np.ndarray:
    """The draws of an augmentation, by its own key: N×count."""
    philox = np.random.Philox(key=key(seed, purpose, name, *OCCASION))
    return np.random.Generator(philox).random((SAMPLES, count), dtype=np.float32)


def cropped(image: torch.Tensor, padding: int, draws: np.ndarray) -> torch.Tensor:
    top, left = (int(draw * (2 * padding + 1)) for draw in draws)
    return transforms.crop(transforms.pad(image, [padding]), top, left, *image.shape[1:])


def test_crop_and_flips_are_torchvisions_by_draws_of_their_own_keys():
    """Crop, then mirrored, then upside down; a flip where its draw is below one half."""
    crops, mirrored, turned = uniforms("crop", 2), uniforms("horizontal-flip", 1), uniforms("vertical-flip", 1)
    found = augmented(crop_padding=2, horizontal_flip=True, vertical_flip=True)
    for row, image in enumerate(images()):
        expected = cropped(image, 2, crops[row])
        expected = expected.flip(2) if mirrored[row, 0] < 0.5 else expected
        expected = expected.flip(1) if turned[row, 0] < 0.5 else expected
        assert torch.equal(found[row], expected)
    assert 15 < (mirrored < 0.5).sum() < 45 and 15 < (turned < 0.5).sum() < 45


def test_images_that_are_no_squares():
    wide = images()[:, :, :5]
    found = Augmenter(AugmentConfig(crop_padding=3), SAMPLES, 9, "augment", CPU)(wide, torch.arange(SAMPLES), OCCASION)
    draws = uniforms("crop", 2)
    assert all(torch.equal(found[row], cropped(image, 3, draws[row])) for row, image in enumerate(wide))


def test_adding_an_augmentation_moves_no_other():
    alone = augmented(crop_padding=2)
    for more in ({"horizontal_flip": True}, {"vertical_flip": True}, {"horizontal_flip": True, "vertical_flip": True}):
        several = augmented(crop_padding=2, **more)
        flips = [[], [2], [1], [1, 2]]
        assert all(
            any(torch.equal(image, crop.flip(axes)) for axes in flips)
            for image, crop in zip(several, alone, strict=True)
        )
    mirrored = augmented(horizontal_flip=True)
    both = augmented(horizontal_flip=True, vertical_flip=True)
    assert all(
        torch.equal(image, one) or torch.equal(image, one.flip(1)) for image, one in zip(both, mirrored, strict=True)
    )
    strong = augmented(crop_padding=2, extra={"randaugment": {}})
    assert not torch.equal(strong, alone)
    assert torch.equal(alone, augmented(crop_padding=2))  # and nothing was changed in place


def test_the_strong_view_has_a_key_of_its_own():
    """RandAugment after the rest, each image from the seed (seed, purpose-strong, occasion, sample)."""
    from torchvision.transforms.v2 import RandAugment

    sample = torch.tensor([7, 2, 31])
    augmenter = Augmenter(AugmentConfig(horizontal_flip=True), SAMPLES, 9, "augment", CPU)
    weak = augmenter(images()[sample], sample, OCCASION)
    strong = augmenter(images()[sample], sample, OCCASION, "strong")
    for row, number in enumerate(sample.tolist()):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(key(9, "augment-strong", *OCCASION, number))
            assert torch.equal(strong[row], RandAugment(num_ops=2, magnitude=9)(weak[row]))
    assert not torch.equal(strong, weak)


def test_seed_purpose_and_occasion_are_told_apart():
    on = {"crop_padding": 2, "horizontal_flip": True}
    made = [
        augmented(**on),
        augmented(seed=10, **on),
        augmented(purpose="meta-augment", **on),
        augmented(occasion=(3, 1, 0), **on),
        augmented(occasion=(4, 0, 1), **on),
    ]
    assert all(not torch.equal(a, b) for i, a in enumerate(made) for b in made[:i])
    assert torch.equal(made[0], augmented(**on))


def test_more_occasions_than_tables_are_kept():
    augmenter = Augmenter(AugmentConfig(horizontal_flip=True), SAMPLES, 9, "augment", CPU)
    sample = torch.arange(SAMPLES)
    first = augmenter(images(), sample, OCCASION)
    for epoch in range(20):
        augmenter(images(), sample, (epoch, 7, 7))
    assert torch.equal(augmenter(images(), sample, OCCASION), first)


# Run ids.

IDS_OF_0_1 = {  # what release 0.1 gave these configurations
    "71186e3a16d1daba": {"dataset": "cifar10"},
    "b366da6b126be362": {"method": "mslg", "dataset": "cifar10"},
    "6929238ffe5b8a45": {"method": "dividemix"},
    "05aaa167c5c29117": {"method": "ce"},
    "8e073e6ab530e6db": {"dataset": "cifar10", "augment": {"crop_padding": 0, "horizontal_flip": False}},
}


@pytest.mark.parametrize("old", IDS_OF_0_1)
def test_only_runs_with_augmentation_have_a_new_id(old):
    config = resolve_dict(IDS_OF_0_1[old])
    augments = old in ("71186e3a16d1daba", "b366da6b126be362", "6929238ffe5b8a45")
    assert (config.run_id != old) == augments
    assert config.augment.draws == (2 if augments else None)
    science = config.science()
    assert science["augment"].pop("draws", None) == (2 if augments else None)
    assert hashlib.sha256(canonical_json(science).encode()).hexdigest()[:16] == old
    # A record of 0.1 has no word of draws, and keeps the id it was filed under.
    stored = config.model_dump(mode="json")
    del stored["augment"]["draws"], stored["augment"]["extra"]
    assert run_id_of(stored) == old


def test_how_draws_are_keyed_is_no_setting():
    assert resolve_dict({"augment": {"draws": 2}}).augment.draws is None
    assert resolve_dict({"augment": {"draws": None, "crop_padding": 1}}).augment.draws == 2


# An augmentation of another package.

MODULE = """
    import torch
    from noisybench.data.augmentations import Augmentation
    from noisybench.spec.values import Settings
    from pydantic import Field

    class CutoutSettings(Settings):
        size: int = Field(default=2, ge=1)

    class Cutout(Augmentation):
        '''Black out a square at a random place.

        It lies within the image.
        '''

        Settings = CutoutSettings

        def apply(self, images, draws):
            size, side = self.settings.size, images.shape[-1]
            corners = (draws.uniforms(2) * (side - size + 1)).long()
            for image, (top, left) in zip(images, corners.tolist()):
                image[:, top : top + size, left : left + size] = 0  # in place
            return images

    class Floats(Cutout):
        def apply(self, images, draws):
            return images / 2

    class Raises(Cutout):
        def apply(self, images, draws):
            raise ValueError("no such image")
"""
POINTS = {"cutout": "my_cutout:Cutout", "floats": "my_cutout:Floats", "raises": "my_cutout:Raises"}
SMALL = ("--limit-train", "300", "--epochs", "1", "--model", "noisybench_mlp")


@pytest.fixture
def cutout(plugin):
    plugin("mine", {GROUP: POINTS}, {"my_cutout.py": MODULE})


def test_it_draws_under_its_own_key_and_moves_no_other(cutout):
    extra = {"cutout": {"size": 3}}
    crops, corners = uniforms("crop", 2), uniforms("cutout", 2)
    found = augmented(crop_padding=2, extra=extra)
    for row, image in enumerate(images()):
        expected = cropped(image, 2, crops[row]).clone()
        top, left = (int(draw * 6) for draw in corners[row])
        expected[:, top : top + 3, left : left + 3] = 0
        assert torch.equal(found[row], expected)
    given = images()
    Augmenter(AugmentConfig(extra=extra), SAMPLES, 9, "augment", CPU)(given, torch.arange(SAMPLES), OCCASION)
    assert torch.equal(given, images())  # the other views are made from the same pixels


def test_it_is_listed_and_trained_with(cli, cutout, tmp_path):
    code, out, _ = cli("augmentations")
    assert code == 0 and "Black out a square at a random place." in out and "horizontal-flip" in out
    code, out, _ = cli("augmentations", "show", "cutout")
    assert code == 0 and "It lies within the image." in out and "size: 2" in out
    records = {}
    for size in (1, 4):
        option = ("--set", f"augment.extra.cutout.size={size}", "--output", tmp_path / str(size))
        assert cli("run", *SMALL, *option)[0] == 0
        records[size] = RunRecord.load(tmp_path / str(size) / "result.json")
    assert records[1].run_id != records[4].run_id
    assert records[1].fingerprints.weights != records[4].fingerprints.weights
    assert records[4].config["augment"]["extra"] == {"cutout": {"size": 4}}
    # Its defaults are part of what a run is, named or not.
    assert resolve_dict({"augment": {"extra": {"cutout": {}}}}).augment.extra == {"cutout": {"size": 2}}
    assert noisybench.RunConfig(augment={"extra": {"cutout": {}}}).augment.draws == 2


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "cutout.sise=3",
            "unknown configuration key 'augment.extra.cutout.sise': did you mean augment.extra.cutout.si",
        ),
        ("cutout.size=0", "augment.extra.cutout.size: input should be greater than or equal to 1, not 0"),
        ("cutuot={}", "unknown augmentation 'cutuot': did you mean cutout"),
        ("crop.padding=2", "augment.extra.crop: switch it on by augment.crop_padding"),
        ("floats={}", "augmentation 'floats' made torch.float32 of shape (64, 1, 8, 8) on cpu of torch.uint8 of shape"),
        ("raises={}", "augmentation 'raises' failed: ValueError: no such image"),
    ],
)
def test_what_is_wrong_with_one_is_one_line(cli, cutout, tmp_path, setting, said):
    code, _, err = cli("run", *SMALL, "--set", f"augment.extra.{setting}", "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1 and said in err


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("Settings = dict", "cannot be imported from bad_one:Bad: TypeError: Bad.Settings must be a subclass of"),
        ("apple = None", "is bad_one:Bad, which lacks apply"),
    ],
)
def test_a_class_that_is_none_is_named(cli, plugin, body, reason):
    text = f"from noisybench.data.augmentations import Augmentation\nclass Bad(Augmentation):\n    {body}\n"
    plugin("strange", {GROUP: {"bad": "bad_one:Bad"}}, {"bad_one.py": text})
    code, out, _ = cli("augmentations")
    assert code == 0 and f"not usable: bad of strange: {reason}" in out


def test_a_broken_one_is_named_and_the_others_work(cli, plugin):
    plugin("strange", {GROUP: {"bad": "bad_one:missing"}}, {"bad_one.py": ""})
    code, out, _ = cli("augmentations")
    assert code == 0 and "vertical-flip" in out
    assert "not usable: bad of strange: cannot be imported from bad_one:missing: AttributeError" in out
    code, _, err = cli("run", "--set", "augment.extra.bad={}", "--dry-run")
    assert code == 2 and "augmentation 'bad' cannot be imported from bad_one:missing" in err
    assert cli("run", "--set", "augment.crop_padding=1", "--dry-run")[0] == 0
