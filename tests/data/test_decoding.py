"""What an encoded image becomes: one rule for every file, column and archive."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import odd_images
import pytest
from odd_images import bomb
from PIL import Image

from noisybench.data import decode
from noisybench.data.decode import Preprocess, decoded

GREY = np.array([[0, 64], [128, 255]], dtype=np.uint8)


def encoded(pixels, form="PNG", **options) -> bytes:
    out = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(out, form, **options)
    return out.getvalue()


def pixels_of(content: bytes, channels: int = 1) -> np.ndarray:
    with decoded(content) as image:
        return np.asarray(image.convert("L" if channels == 1 else "RGB"))


def refused(content, message: str) -> None:
    with pytest.raises(ValueError, match=message), decoded(content):
        pass


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bits_are_scaled_not_clipped(form):
    """v·257 is the 16-bit value of the 8-bit v; half a step more than v·257 rounds up."""
    wide = GREY.astype(np.uint16) * 257
    assert np.array_equal(pixels_of(encoded(wide, form)), GREY)
    wide[0, 0] = 129  # 129/257 = 0.502
    assert pixels_of(encoded(wide, form))[0, 0] == 1


SCALED = {
    "floats up to 1": (np.array([[0.0, 0.25], [0.5, 1.0]], np.float32), [[0, 64], [128, 255]]),
    "floats up to 255": (np.array([[0.0, 64.0], [128.4, 255.0]], np.float32), [[0, 64], [128, 255]]),
    "floats up to 65535": (np.array([[0.0, 16448.0], [32896.0, 65535.0]], np.float32), [[0, 64], [128, 255]]),
    "floats below 0": (np.array([[-1.0, -0.5], [0.0, 1.0]], np.float32), [[0, 64], [128, 255]]),
    "huge floats": (np.array([[0.0, 2e6], [4e6, 8e6]], np.float32), [[0, 64], [128, 255]]),
    "one value below 0": (np.full((2, 2), -3.0, np.float32), [[0, 0], [0, 0]]),
    "integers up to 255": (np.array([[0, 64], [128, 255]], np.int32), [[0, 64], [128, 255]]),
    "integers up to 65535": (np.array([[0, 16448], [32896, 65535]], np.int32), [[0, 64], [128, 255]]),
    "integers of 32 bits": (np.array([[0, 2**29], [2**30, 2**31 - 1]], np.int32), [[0, 64], [128, 255]]),
}


@pytest.mark.parametrize("what", SCALED)
def test_more_bits_are_scaled_by_the_smallest_range_that_holds_them(what):
    values, expected = SCALED[what]
    assert pixels_of(encoded(values, "TIFF")).tolist() == expected


def test_12_bits_of_a_tiff_are_scaled_by_their_own_range():
    """Four values of 12 bits, packed big-endian: 0, 1028, 2056, 4095 = 0, 64, 128, 255 · 4095/255."""
    strip = bytes([0x00, 0x04, 0x04, 0x80, 0x8F, 0xFF])
    tags = [(256, 2), (257, 2), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 2), (279, len(strip))]
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHIHH", tag, 3, 1, v, 0) for tag, v in tags)
    tiff = b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory + b"\0\0\0\0"
    assert pixels_of(tiff).tolist() == [[0, 64], [128, 255]]


def test_values_that_are_no_numbers_are_refused():
    refused(encoded(np.array([[0.0, np.nan]], np.float32), "TIFF"), "no finite numbers")


# What a viewer shows of the stored picture [[1, 2, 3], [4, 5, 6]], by the EXIF standard's table of orientations.
UPRIGHT = {
    1: [[1, 2, 3], [4, 5, 6]],
    2: [[3, 2, 1], [6, 5, 4]],
    3: [[6, 5, 4], [3, 2, 1]],
    4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]],
    6: [[4, 1], [5, 2], [6, 3]],
    7: [[6, 3], [5, 2], [4, 1]],
    8: [[3, 6], [2, 5], [1, 4]],
    9: [[1, 2, 3], [4, 5, 6]],  # there is no such orientation
}


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", UPRIGHT)
def test_pictures_are_turned_upright(orientation, form):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)
    options = {"lossless": True} if form == "WEBP" else {}
    content = encoded(Image.fromarray(stored).convert("RGB"), form, exif=exif, **options)
    assert pixels_of(content).tolist() == UPRIGHT[orientation]


def test_a_photo_held_upright_is_turned():
    """A JPEG whose upper half is white once it is turned: orientation 6 is a quarter to the right."""
    stored = np.zeros((32, 64), dtype=np.uint8)
    stored[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    shown = pixels_of(encoded(stored, "JPEG", exif=exif, quality=100))
    assert shown.shape == (64, 32) and shown[:28].min() > 250 and shown[36:].max() < 5


def test_a_damaged_exif_block_leaves_the_picture():
    content = encoded(np.full((8, 8), 77, np.uint8), "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    assert abs(int(pixels_of(content)[0, 0]) - 77) <= 1


def transparent() -> dict[str, bytes]:
    """Pictures whose left half is opaque (10, 20, 30) and whose right half is transparent (200, 0, 0), or grey."""
    colour = np.zeros((4, 4, 4), dtype=np.uint8)
    colour[:, :2], colour[:, 2:] = (10, 20, 30, 255), (200, 0, 0, 0)
    grey = np.zeros((4, 4, 2), dtype=np.uint8)
    grey[:, :2], grey[:, 2:] = (50, 255), (0, 0)
    palette = Image.fromarray(colour[..., :3]).quantize(2)
    clear = palette.getpixel((3, 3))
    one_grey = Image.fromarray(grey[..., 0])
    wide = Image.fromarray(grey[..., 0].astype(np.uint16) * 257)
    return {
        "RGBA": encoded(colour),
        "RGBA, WebP": encoded(colour, "WEBP", lossless=True, exact=True),
        "LA": encoded(Image.fromarray(grey, "LA")),
        "palette": encoded(palette, transparency=clear),
        "palette, GIF": encoded(palette, "GIF", transparency=clear),
        "one colour": encoded(colour[..., :3], transparency=(200, 0, 0)),
        "one grey": encoded(one_grey, transparency=0),
        "one grey of 16 bits": encoded(wide, transparency=0),
    }


@pytest.mark.parametrize("what", transparent())
def test_what_is_transparent_shows_white(what):
    shown = pixels_of(transparent()[what], channels=3)
    left = [50, 50, 50] if "grey" in what or what == "LA" else [10, 20, 30]
    assert shown[0, 0].tolist() == left
    assert (shown[:, 2:] == 255).all()
    assert (pixels_of(transparent()[what])[:, 2:] == 255).all()


def test_half_transparent_is_mixed_with_white():
    assert pixels_of(encoded(np.full((1, 1, 4), 128, np.uint8)), 3).tolist() == [[[191, 191, 191]]]  # 128·½ + 255·½


def test_other_modes():
    bits = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert pixels_of(encoded(bits)).tolist() == [[0, 255], [255, 0]]
    ink = Image.new("CMYK", (2, 2), (0, 255, 255, 0))  # no cyan: red
    red = pixels_of(encoded(ink, "TIFF"), 3)[0, 0]
    assert red[0] > 250 and red[1] < 5 and red[2] < 5
    jpeg = pixels_of(encoded(ink, "JPEG", quality=100), 3)[0, 0]
    assert jpeg[0] > 245 and jpeg[1] < 10 and jpeg[2] < 10


@pytest.mark.parametrize("form", ["GIF", "TIFF", "WEBP", "MPO", "PNG"])
def test_of_several_frames_the_first_is_taken(form):
    first, second = (Image.new("RGB", (16, 16), colour) for colour in ("black", "white"))
    content = encoded(first, form, save_all=True, append_images=[second])
    assert pixels_of(content).max() < 5


@pytest.mark.parametrize("form", ["JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_file_is_refused(form, share):
    drawn = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    content = encoded(Image.fromarray(drawn).convert("RGB"), form)
    refused(content[: int(share * len(content))], r"^cannot be decoded \([^<>\n]+\)$")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n(harm) print\nshowpage\n%%EOF\n"
NOT_READ = {
    "EPS": EPS,
    "PDF": b"%PDF-1.4\n%%EOF",
    "ICO": encoded(np.zeros((16, 16), np.uint8), "ICO"),
    "TGA": encoded(np.zeros((16, 16), np.uint8), "TGA"),
    "text": b"hello",
}


@pytest.mark.parametrize("what", NOT_READ)
def test_other_formats_start_no_decoder(what, monkeypatch):
    """Pillow has the program Ghostscript read EPS, whatever the file's name is."""

    def refuse(*_, **__):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    monkeypatch.setattr(subprocess, "check_call", refuse)
    refused(NOT_READ[what], "no JPEG, PNG, BMP, WEBP, GIF, TIFF or PPM image")


@pytest.mark.parametrize("size", [(9000, 9000), (11500, 11500), (30000, 30000)])
def test_a_bomb_is_refused_before_it_is_decoded(size, monkeypatch):
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    refused(bomb(*size, rows=1), "67,108,864( pixels)?, the most that are decoded")


def test_a_set_of_one_size_refuses_another_before_decoding(monkeypatch):
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="is 4000×4000 pixels, not 32×32"):
        Preprocess(3, 32, exact=32)(bomb(4000, 4000))


def test_a_line_of_pixels_is_not_blown_up():
    """By the shorter side it would be resized to 256×2,560,000."""
    with pytest.raises(ValueError, match="is 10000×1 pixels: too narrow"):
        Preprocess(3, 224, shorter=256)(bomb(10000, 1))


def test_a_tile_larger_than_its_image_is_refused():
    content = bytearray(encoded(np.zeros((16, 16), np.uint8), "TIFF", tiffinfo={322: 16, 323: 16}))
    with Image.open(io.BytesIO(content)) as opened:
        opened.tag_v2[322] = 2**20
        opened.tag_v2[323] = 2**20
        with pytest.raises(ValueError, match="tiles of more than"):
            decode._check_size(opened, decode.any_size)


def test_a_file_with_too_many_bytes_is_not_read(tmp_path):
    file = tmp_path / "a.png"
    file.touch()
    with open(file, "r+b") as opened:
        opened.truncate(decode.MOST_BYTES + 1)  # sparse: it takes no room
    refused(str(file), "has 268,435,457 bytes; at most 268,435,456 are read")


MEMORY = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from odd_images import bomb
from concurrent.futures import ThreadPoolExecutor
from noisybench.data.decode import Preprocess
content = bomb(8000, 8000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with ThreadPoolExecutor(8) as pool:
    list(pool.map(Preprocess(3, 224, shorter=256), [content] * 8))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in KiB on Linux")
def test_threads_do_not_add_up_the_memory_of_large_images():
    """64 million pixels are 244 MiB as RGB in Pillow's memory; eight at once would take 2 GiB and more."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(Path(odd_images.__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout) < 2**20, f"{int(done.stdout) // 1024} MiB"
