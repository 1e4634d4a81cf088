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
from noisybench.data.augment import Augmenter, switched_on
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


# Those of augment.extra.


def everything() -> dict[str, dict]:
    return {
        "color-jitter": {"hue": 0.2},
        "cutout": {"size": 3},
        "randaugment": {},
        "random-erasing": {},
        "random-resized-crop": {},
    }


def test_random_resized_crop_is_torchvisions_by_its_own_draws():
    on = {"least": 0.2, "most": 0.9, "ratio": 1.5, "interpolation": "bicubic"}
    found, drawn = augmented(extra={"random-resized-crop": on}), uniforms("random-resized-crop", 22).astype(float)
    sizes = set()
    for row, image in enumerate(images()):
        for attempt in range(10):
            area = 64 * (0.2 + drawn[row, 2 * attempt] * 0.7)
            shape = 1.5 ** (2 * drawn[row, 2 * attempt + 1] - 1)
            width, height = round((area * shape) ** 0.5), round((area / shape) ** 0.5)
            if width <= 8 and height <= 8:
                break
        top, left = int(drawn[row, 20] * (9 - height)), int(drawn[row, 21] * (9 - width))
        mode = transforms.InterpolationMode.BICUBIC
        assert torch.equal(found[row], transforms.resized_crop(image, top, left, height, width, [8, 8], mode))
        sizes.add((height, width))
    assert len(sizes) > 10 and any(height != width for height, width in sizes)


def test_a_crop_that_never_fits_is_the_middle_of_an_allowed_shape():
    flat = images()[:, :, :2]  # 2×8: no part of 90 % of it is a square, nor nearly
    config = AugmentConfig(extra={"random-resized-crop": {"least": 0.9, "ratio": 1.0}})
    found = Augmenter(config, SAMPLES, 9, "augment", CPU)(flat, torch.arange(SAMPLES), OCCASION)
    for row, image in enumerate(flat):
        assert torch.equal(found[row], transforms.resized_crop(image, 0, 3, 2, 2, [2, 8]))


def test_color_jitter_is_torchvisions_by_its_own_draws():
    on = {"brightness": 0.5, "contrast": 1.5, "saturation": 0.3, "hue": 0.25}
    found, drawn = augmented(extra={"color-jitter": on}), uniforms("color-jitter", 8).astype(float)
    limits = [(0.5, 1.5), (0.0, 2.5), (0.7, 1.3), (-0.25, 0.25)]
    steps = ["brightness", "contrast", "saturation", "hue"]
    orders = set()
    for row, image in enumerate(images()):
        order = sorted(range(4), key=lambda number: drawn[row, 4 + number])
        for number in order:
            low, high = limits[number]
            image = getattr(transforms, f"adjust_{steps[number]}")(image, low + (high - low) * drawn[row, number])
        assert torch.equal(found[row], image)
        orders.add(tuple(order))
    assert len(orders) > 12
    none = dict.fromkeys(steps, 0.0)
    assert torch.equal(augmented(extra={"color-jitter": none}), images())


@pytest.mark.parametrize("fill", ["noise", 200])
def test_random_erasing_by_its_own_draws(fill):
    on = {"probability": 0.7, "least": 0.1, "most": 0.4, "ratio": 2.0, "fill": fill}
    found, drawn = augmented(extra={"random-erasing": on}), uniforms("random-erasing", 23).astype(float)
    erased = 0
    for row, image in enumerate(images()):
        expected = image.clone()
        if drawn[row, 22] < 0.7:
            for attempt in range(10):
                area = 64 * (0.1 + drawn[row, 2 * attempt] * (0.4 - 0.1))
                shape = 2.0 ** (2 * drawn[row, 2 * attempt + 1] - 1)
                width, height = round((area * shape) ** 0.5), round((area / shape) ** 0.5)
                if height <= 8 and width <= 8:
                    break
            top, left = int(drawn[row, 20] * (9 - height)), int(drawn[row, 21] * (9 - width))
            filling = torch.full((3, 8, 8), fill, dtype=torch.uint8) if fill != "noise" else None
            if filling is None:
                own = torch.Generator().manual_seed(key(9, "augment", "random-erasing", *OCCASION, row))
                filling = torch.randint(256, (3, 8, 8), dtype=torch.uint8, generator=own)
            inside = (slice(None), slice(top, top + height), slice(left, left + width))
            expected[inside] = filling[inside]
            erased += 1
        assert torch.equal(found[row], expected)
    assert 30 < erased < 55


def test_cutout_hides_a_square_around_a_pixel_as_far_as_it_is_inside():
    found, drawn = augmented(extra={"cutout": {"size": 4, "fill": 9}}), uniforms("cutout", 2)
    counts = set()
    for row, image in enumerate(images()):
        expected = image.clone()
        centre = [int(draw * 8) for draw in drawn[row]]
        for y in range(8):
            for x in range(8):
                if -2 <= y - centre[0] < 2 and -2 <= x - centre[1] < 2:
                    expected[:, y, x] = 9
        assert torch.equal(found[row], expected)
        counts.add(int((found[row][0] != image[0]).sum()))
    assert max(counts) == 16 and min(counts) < 9


def test_what_an_image_becomes_does_not_depend_on_its_batch():
    config = AugmentConfig(crop_padding=1, horizontal_flip=True, extra=everything())
    sample, whole = torch.arange(SAMPLES), images(17)
    augmenter = Augmenter(config, SAMPLES, 9, "augment", CPU)
    found = augmenter(whole, sample, OCCASION)
    before = torch.get_rng_state()
    for sizes in ([1] * SAMPLES, [7, 1, 30, 22]):
        for rows in torch.from_numpy(np.random.default_rng(3).permutation(SAMPLES)).split(sizes):
            fresh = Augmenter(config, SAMPLES, 9, "augment", CPU)
            assert torch.equal(fresh(whole[rows], rows, OCCASION), found[rows])
    assert torch.equal(torch.get_rng_state(), before) and torch.equal(whole, images(17))


def test_they_come_in_their_order_and_move_no_other():
    names = list(switched_on(AugmentConfig(crop_padding=1, extra=everything())))
    assert names == ["crop", "random-resized-crop", "color-jitter", "randaugment", "cutout", "random-erasing"]
    resized = augmented(extra={"random-resized-crop": {}})
    both = augmented(extra={"cutout": {"size": 3, "fill": 0}, "random-resized-crop": {}})
    kept = both != 0
    assert torch.equal(both[kept], resized[kept]) and not torch.equal(both, resized)


@pytest.mark.parametrize("name", ["random-resized-crop", "color-jitter", "random-erasing", "cutout"])
def test_each_makes_another_run_that_trains_grey_images(cli, tmp_path, name):
    run = ("run", "--limit-train", "200", "--epochs", "1", "--model", "noisybench_mlp")
    code, _, err = cli(*run, "--set", f"augment.extra.{name}={{}}", "--output", tmp_path / "run")
    assert code == 0, err
    record = RunRecord.load(tmp_path / "run" / "result.json")
    plain = json.loads(cli(*run, "--dry-run")[1])
    assert record.config["augment"]["extra"].keys() == {name} and record.run_id != run_id_of(plain)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("random-resized-crop.least=0", "augment.extra.random-resized-crop.least: input should be greater than 0"),
        ("random-resized-crop.most=0.05", "least 0.08 is larger than most 0.05"),
        ("random-erasing.fill=300", "augment.extra.random-erasing.fill"),
        ("color-jitter.hue=0.6", "augment.extra.color-jitter.hue: input should be less than or equal to 0.5"),
        ("cutout.sise=3", "unknown configuration key 'augment.extra.cutout.sise'"),
    ],
)
def test_a_wrong_setting_is_one_line(cli, setting, said):
    code, _, err = cli("run", "--set", f"augment.extra.{setting}", "--dry-run")
    assert code == 2 and err.count("\n") == 1 and said in err, err


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
    "6929238ffe5b8a45": {"method": "dividemix", "settings": {"warmup_batch_factor": 1}},
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

    class BlotSettings(Settings):
        size: int = Field(default=2, ge=1)

    class Blot(Augmentation):
        '''Black out a square at a random place.

        It lies within the image.
        '''

        Settings = BlotSettings

        def apply(self, images, draws):
            size, side = self.settings.size, images.shape[-1]
            corners = (draws.uniforms(2) * (side - size + 1)).long()
            for image, (top, left) in zip(images, corners.tolist()):
                image[:, top : top + size, left : left + size] = 0  # in place
            return images

    class Floats(Blot):
        def apply(self, images, draws):
            return images / 2

    class Raises(Blot):
        def apply(self, images, draws):
            raise ValueError("no such image")
"""
POINTS = {"blot": "my_blot:Blot", "floats": "my_blot:Floats", "raises": "my_blot:Raises"}
SMALL = ("--limit-train", "300", "--epochs", "1", "--model", "noisybench_mlp")


@pytest.fixture
def blot(plugin):
    plugin("mine", {GROUP: POINTS}, {"my_blot.py": MODULE})


def test_it_draws_under_its_own_key_and_moves_no_other(blot):
    extra = {"blot": {"size": 3}}
    crops, corners = uniforms("crop", 2), uniforms("blot", 2)
    found = augmented(crop_padding=2, extra=extra)
    for row, image in enumerate(images()):
        expected = cropped(image, 2, crops[row]).clone()
        top, left = (int(draw * 6) for draw in corners[row])
        expected[:, top : top + 3, left : left + 3] = 0
        assert torch.equal(found[row], expected)
    given = images()
    Augmenter(AugmentConfig(extra=extra), SAMPLES, 9, "augment", CPU)(given, torch.arange(SAMPLES), OCCASION)
    assert torch.equal(given, images())  # the other views are made from the same pixels


def test_it_is_listed_and_trained_with(cli, blot, tmp_path):
    code, out, _ = cli("augmentations")
    assert code == 0 and "Black out a square at a random place." in out and "horizontal-flip" in out
    code, out, _ = cli("augmentations", "show", "blot")
    assert code == 0 and "It lies within the image." in out and "size: 2" in out
    records = {}
    for size in (1, 4):
        option = ("--set", f"augment.extra.blot.size={size}", "--output", tmp_path / str(size))
        assert cli("run", *SMALL, *option)[0] == 0
        records[size] = RunRecord.load(tmp_path / str(size) / "result.json")
    assert records[1].run_id != records[4].run_id
    assert records[1].fingerprints.weights != records[4].fingerprints.weights
    assert records[4].config["augment"]["extra"] == {"blot": {"size": 4}}
    # Its defaults are part of what a run is, named or not.
    assert resolve_dict({"augment": {"extra": {"blot": {}}}}).augment.extra == {"blot": {"size": 2}}
    assert noisybench.RunConfig(augment={"extra": {"blot": {}}}).augment.draws == 2


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (
            "blot.sise=3",
            "unknown configuration key 'augment.extra.blot.sise': did you mean augment.extra.blot.si",
        ),
        ("blot.size=0", "augment.extra.blot.size: input should be greater than or equal to 1, not 0"),
        ("bolt={}", "unknown augmentation 'bolt': did you mean blot"),
        ("crop.padding=2", "augment.extra.crop: switch it on by augment.crop_padding"),
        ("floats={}", "augmentation 'floats' made torch.float32 of shape (64, 1, 8, 8) on cpu of torch.uint8 of shape"),
        ("raises={}", "augmentation 'raises' failed: ValueError: no such image"),
    ],
)
def test_what_is_wrong_with_one_is_one_line(cli, blot, tmp_path, setting, said):
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
