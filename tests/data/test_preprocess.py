"""What is done to every image once: as the dataset's card says, or as timm does for pretrained weights."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from noisybench.data import load_dataset
from noisybench.data.datasets import loaded, open_limited
from noisybench.data.decode import Preprocess
from noisybench.data.pixels import ResizedPixels
from noisybench.spec import registry
from noisybench.spec.values import PreprocessConfig

PHOTOS = registry.dataset_card("food101n")
SQUARES = registry.dataset_card("cifar10")


def photo(width, height, seed=0) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(stream, "png")
    return stream.getvalue()


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize(("crop_pct", "side"), [(0.875, 224), (0.9, 96), (1.0, 64)])
@pytest.mark.parametrize("size", [(300, 200), (97, 161)])
def test_photos_are_prepared_as_timm_does(mode, interpolation, crop_pct, side, size):
    asked = PreprocessConfig(crop_pct=crop_pct, crop_mode=mode, interpolation=interpolation)
    ours = Preprocess.of(PHOTOS, side, asked)(photo(*size))
    timms = create_transform(
        (3, side, side), interpolation=interpolation, crop_pct=crop_pct, crop_mode=mode, normalize=False
    )
    expected = timms(Image.open(io.BytesIO(photo(*size))))
    assert ours.dtype == torch.uint8 and torch.equal(ours, expected)


def test_squares_of_one_size_are_cropped_too():
    asked = PreprocessConfig(crop_pct=0.5, interpolation="nearest")
    preprocess = Preprocess.of(SQUARES, 32, asked)
    image = torch.arange(3 * 32 * 32).reshape(3, 32, 32).remainder(251).to(torch.uint8)
    doubled = image.repeat_interleave(2, 1).repeat_interleave(2, 2)
    assert torch.equal(preprocess.of_squares(image), doubled[:, 16:48, 16:48])
    stream = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(stream, "png")
    assert torch.equal(preprocess(stream.getvalue()), doubled[:, 16:48, 16:48])


def test_without_a_wish_it_is_the_cards():
    assert Preprocess.of(PHOTOS, 112) == Preprocess(3, 112, shorter=128)
    assert Preprocess.of(SQUARES) == Preprocess(3, 32, exact=32)
    assert Preprocess.of(SQUARES, 64).key == "3-64-None-32"  # what decoded images are cached under


def test_a_set_above_the_memory_budget_is_resized_when_asked_and_is_the_same():
    card = registry.dataset_card("digits")
    for asked in (PreprocessConfig(), PreprocessConfig(crop_pct=0.8, interpolation="bicubic")):
        opened = open_limited(
            card,
            data_path=None,
            preprocess=Preprocess.of(card, 24, asked),
            limit_train=300,
            checked=None,
            fits=None,
        )
        small, large = loaded(opened, 0), loaded(opened, 4096)
        assert isinstance(small.train.pixels, ResizedPixels) and not small.resident and large.resident
        assert small.train.pixels.shape == large.train.pixels.shape == (300, 1, 24, 24)
        rows = np.array([299, 0, 7])
        assert torch.equal(small.train.pixels.fetch(rows), large.train.pixels.fetch(rows))
        assert torch.equal(small.train.take(rows).pixels[:], large.train.take(rows).pixels[:])
        assert small.fingerprint() == large.fingerprint()
    plain = load_dataset(card, data_path=None, image_size=24, limit_train=300)
    assert plain.fingerprint() != large.fingerprint()
