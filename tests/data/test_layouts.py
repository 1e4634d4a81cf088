"""Datasets on disk: what the readers find in trees of the exact layout, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import small_sets
import trees
from PIL import Image

from noisybench.core.errors import UserError
from noisybench.data import load_dataset
from noisybench.spec import registry
from noisybench.spec.checked_labels import read_checked


@pytest.fixture(autouse=True)
def _cards(small_set, monkeypatch):
    """Stand-ins are loaded by cards that promise what they hold."""
    monkeypatch.setattr(small_sets, "made", small_set, raising=False)


def load(name, root=None, sizes=None, **options):
    if root is not None:
        name = small_sets.made(name, root, **(sizes or {}))
    return load_dataset(
        registry.dataset_card(name),
        data_path=root,
        image_size=options.pop("image_size", 16),
        limit_train=None,
        **options,
    )


def test_clothing1m(tmp_path):
    found = load("clothing1m", trees.clothing1m(tmp_path))
    assert (len(found.train), len(found.clean), len(found.test)) == (140, 56, 28)
    rows = np.arange(140)
    assert (found.train.labels == (rows % 14 + (rows % 3 == 0)) % 14).all()
    assert (found.clean.labels == np.arange(56) % 14).all()
    assert (found.truth == -1).all()
    assert found.train.pixels.file(3) == "images/3/noisy_train_3.jpg"


def test_clothing1m_50k_takes_the_clean_label(tmp_path):
    root = trees.clothing1m(tmp_path)
    with open(root / "clean_label_kv.txt", "a") as opened:
        opened.write("images/0/noisy_train_0.jpg 5\n")
    found = load("clothing1m-50k", root)
    assert len(found.train) == 140 + 28
    assert found.train.labels[0] == 5 and found.truth[0] == 5
    assert (found.truth[1:140] == -1).all()
    assert (found.truth[140:] == np.arange(28) % 14).all()


def test_clothing1m_balanced(tmp_path):
    found = load("clothing1m-balanced", trees.clothing1m(tmp_path))
    rows = np.arange(140)
    smallest = np.bincount((rows % 14 + (rows % 3 == 0)) % 14).min()
    assert (np.bincount(found.train.labels) == smallest).all() and smallest > 0


def test_food101n(tmp_path):
    root = trees.food101n(tmp_path / "Food-101N_release")
    found = load("food101n", root)
    assert (len(found.train), len(found.test)) == (303, 101)
    # 101 classes, one verified_train image each, flagged 0 in the 21 classes whose id is a multiple of 5
    assert (found.truth >= 0).sum() == 101 - 21
    known = found.truth >= 0
    assert (found.truth[known] == found.train.labels[known]).all()
    assert found.test.pixels.file(0) == "food-101/images/apple_pie/0.jpg"

    verified = load("food101n-verified", root)
    assert (len(verified.train), len(verified.test)) == (303 - 80, 80)
    authors = load("food101n-authors", root)
    assert (authors.truth >= 0).sum() == 101  # whatever the flag
    assert (len(authors.train), len(authors.test)) == (303 - 80, 80)


def test_food101n_with_one_row_of_a_file_under_another_class(tmp_path, cli):
    """As published: a row of verified_train.tsv names a file that imagelist.tsv has in another folder."""
    root = trees.food101n(tmp_path / "Food-101N_release")
    verified = root / "meta" / "verified_train.tsv"
    verified.write_text(verified.read_text().replace("waffles/100_0.jpg", "tuna_tartare/100_0.jpg"))
    found = load("food101n", root)
    assert (len(found.train), (found.truth >= 0).sum()) == (303, 101 - 21)  # waffles is flagged 0: nothing is lost
    note = "meta/verified_train.tsv: 1 of 101 images are not in imagelist.tsv, the first tuna_tartare/100_0.jpg"
    assert found.notes == (f"{note}; what is said of them is ignored",)
    code, out, _ = cli("data", "verify", "small-food101n", "--data-path", root)
    assert code == 0 and f"note: {note}" in out and "all there" in out
    verified.write_text(verified.read_text().replace("apple_pie/", "nowhere/").replace("b", "x"))
    with pytest.raises(UserError, match=r"verified_train.tsv: \d+ of 101 images are not in imagelist.tsv"):
        load("food101n", root)


PROMISES = {
    "clothing1m": ("noisy_train_key_list.txt", "noisy_train_key_list.txt: 70 entries where the card promises 140"),
    "food101n": ("meta/imagelist.tsv", "meta/imagelist.tsv: 151 entries where the card promises 303"),
    "mini-webvision": ("info/train_filelist_google.txt", "google.txt: 52 entries where the card promises 104"),
    "animal10n": ("training", "training/: 20 entries where the card promises 40"),
}


@pytest.mark.parametrize("base", PROMISES)
def test_half_of_a_published_set_is_refused(tmp_path, base, small_set, cli):
    make = {"mini-webvision": trees.webvision}.get(base) or getattr(trees, base)
    root = make(tmp_path / "data")
    name = small_set(base, root)
    place, message = PROMISES[base]
    if (root / place).is_dir():
        for file in sorted((root / place).iterdir())[20:]:
            file.unlink()
    else:
        lines = (root / place).read_text().splitlines()
        (root / place).write_text("\n".join(lines[: len(lines) // 2]) + "\n")
    with pytest.raises(UserError, match=message):
        load_dataset(registry.dataset_card(name), data_path=root, image_size=16, limit_train=None)
    code, out, _ = cli("data", "verify", name, "--data-path", root)
    assert code == 2 and message in out


def test_names_of_a_list_stay_inside_the_folder(tmp_path):
    root = trees.clothing1m(tmp_path / "clothing1M")
    trees.photo(tmp_path / "outside.jpg", 0, 0)
    for name in ("clean_test_key_list.txt", "clean_label_kv.txt"):
        text = (root / name).read_text()
        (root / name).write_text(text.replace("images/3/clean_test_3.jpg", "images/../../outside.jpg"))
    with pytest.raises(UserError, match=r"1 of 112 names lead out of the folder, the first ../outside.jpg"):
        load("clothing1m", root)
    for name in ("clean_test_key_list.txt", "clean_label_kv.txt"):
        text = (root / name).read_text()
        (root / name).write_text(text.replace("images/../../outside.jpg", str(tmp_path / "outside.jpg")))
    with pytest.raises(UserError, match="1 of 112 names lead out of the folder, the first /"):
        load("clothing1m", root)


def test_two_labels_of_one_image_are_noted(tmp_path):
    root = trees.clothing1m(tmp_path / "clothing1M")
    with open(root / "noisy_label_kv.txt", "a") as opened:
        opened.write("./images/3/noisy_train_3.jpg 9\n")
    found = load("clothing1m", root)
    assert found.train.labels[3] == 9
    assert "noisy_label_kv.txt: 1 images have two labels, the first images/3/noisy_train_3.jpg" in found.notes[0]


def test_food101n_without_food101_names_the_cure(tmp_path):
    root = trees.food101n(tmp_path / "Food-101N_release", food101=False)
    with pytest.raises(UserError, match="food-101/meta/test.txt is missing .*25,250.*food101n-verified"):
        load("food101n", root)


def test_food101_beside_the_folder(tmp_path):
    root = trees.food101n(tmp_path / "Food-101N_release")
    (root / "food-101").rename(tmp_path / "food-101")
    assert len(load("food101n", root).test) == 101


def test_animal10n_and_webvision(tmp_path):
    animals = load("animal10n", trees.animal10n(tmp_path / "animals"), image_size=None)
    assert animals.train.pixels.shape == (40, 3, 64, 64) and len(animals.test) == 20
    assert animals.train.pixels.file(0).startswith("training/0_")
    web = load("mini-webvision", trees.webvision(tmp_path / "web"))
    assert (len(web.train), len(web.test), web.train.labels.max()) == (100, 50, 49)
    assert web.test.pixels.file(7) == "val_images_256/val000007.jpg"


def test_pixels_are_resized_by_the_shorter_side_and_cropped(tmp_path):
    root = trees.animal10n(tmp_path)
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[:, 50:150] = 255  # the centre square
    Image.fromarray(picture).save(root / "training" / "0_0.jpg", quality=100)
    pixels = load("animal10n", root, image_size=None).train.pixels[:1].float()
    assert pixels.shape[-2:] == (64, 64) and pixels[..., 2:-2].min() > 245


BROKEN = {
    "a list file": ("clean_val_key_list.txt", None, r"clean_val_key_list.txt is missing .*clean validation"),
    "a label": ("clean_label_kv.txt", "images/0/clean_val_0.jpg 14\n", r"1 of 113 labels are outside 0..13.*'14'"),
    "a key": ("clean_test_key_list.txt", "images/0/nothing.jpg\n", r"1 of 29 keys have no label .*nothing.jpg"),
    "a leak": ("noisy_train_key_list.txt", "images/0/clean_val_0.jpg\n", r"keys have no label"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_clothing1m_refuses(tmp_path, what):
    root = trees.clothing1m(tmp_path)
    name, added, message = BROKEN[what]
    if added is None:
        (root / name).unlink()
    else:
        (root / name).write_text((root / name).read_text() + added)
    with pytest.raises(UserError, match=message) as caught:
        load("clothing1m", root)
    assert "\n" not in str(caught.value)


def test_an_image_in_two_parts_is_refused(tmp_path):
    root = trees.clothing1m(tmp_path)
    for name, line in (("clean_test_key_list.txt", ""), ("clean_label_kv.txt", " 3")):
        with open(root / name, "a") as opened:
            opened.write(f"images/1/noisy_train_1.jpg{line}\n")
    with pytest.raises(UserError, match="1 images of the test part are in the train part too.*noisy_train_1.jpg"):
        load("clothing1m", root, {"test": 29})


@pytest.mark.parametrize("budget_mb", [0, 4096])
def test_images_that_do_not_decode_are_counted(tmp_path, budget_mb):
    root = trees.clothing1m(tmp_path)
    for row in (4, 17):
        (root / f"images/{row % 10}/noisy_train_{row}.jpg").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"noisy_train_4.jpg cannot be decoded .*\(2 of 140 images are bad\)"):
        load("clothing1m", root, budget_mb=budget_mb)


def test_missing_images_and_empty_classes_are_counted(tmp_path):
    root = trees.clothing1m(tmp_path)
    (root / "images/5/noisy_train_5.jpg").unlink()
    with pytest.raises(UserError, match="1 of 140 train images are missing, the first images/5/noisy_train_5.jpg"):
        load("clothing1m", root)
    lines = [line for line in (root / "noisy_label_kv.txt").read_text().splitlines() if not line.endswith(" 13")]
    kept = {line.split()[0] for line in lines}
    (root / "noisy_label_kv.txt").write_text("\n".join(lines))
    keys = (root / "noisy_train_key_list.txt").read_text().split()
    (root / "noisy_train_key_list.txt").write_text("\n".join(key for key in keys if key in kept))
    with pytest.raises(UserError, match="1 of 14 classes have no training image: 'Underwear' .and 1 more"):
        load("clothing1m", root, {"train": 129})


def test_imagefolder_with_and_without_a_test_folder(tmp_path):
    root, checked, _ = trees.photos(tmp_path / "photos", per_class=20, checked=5)
    name = f"imagefolder:{root}"
    card = registry.dataset_card(name)
    assert card.classes == ["class0", "class1", "class2", "class3"] and card.labels == "unknown"
    found = load(name)
    assert (len(found.train), len(found.test)) == (64, 16) and (found.truth == -1).all()

    labelled = load(name, checked=read_checked(checked))
    assert (len(labelled.train), len(labelled.test)) == (68, 12)  # a fifth of the 60 unchecked ones
    rows = np.flatnonzero(labelled.truth >= 0)
    assert len(rows) == 20
    # a photo's true class is in its name, whatever folder it lies in
    files = [labelled.train.pixels.file(row).split("/")[1] for row in rows]
    assert [int(file[0]) for file in files] == labelled.truth[rows].tolist()

    other = tmp_path / "split"
    other.mkdir()
    root.rename(other / "train")
    trees.photo(other / "test" / "class1" / "x.png", 1, 0)
    split = load(f"imagefolder:{other}")
    assert (len(split.train), len(split.test), split.test.labels.tolist()) == (80, 1, [1])


def test_csv(tmp_path):
    for row in range(12):
        trees.photo(tmp_path / f"pictures/{row}.png", row % 2, row)
    lines = [
        "path,label,split",
        *(f"pictures/{row}.png,{'ab'[row % 2]},{'test' if row > 8 else 'train'}" for row in range(12)),
    ]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    found = load(f"csv:{tmp_path / 'list.csv'}")
    assert found.card.classes == ["a", "b"]
    assert (len(found.train), len(found.test), found.train.labels[:3].tolist()) == (9, 3, [0, 1, 0])
    (tmp_path / "list.csv").write_text("file,label\n")
    with pytest.raises(UserError, match="no column 'path'; found file, label"):
        load(f"csv:{tmp_path / 'list.csv'}")


CHECKED = {
    "path,label\nclass0/0_0.jpg,class9\nclass0/0_1.jpg,class1\n": "line 2 has label 'class9', which is no class",
    "path,label\nnowhere.jpg,class1\nclass0/0_1.jpg,class1\n": "line 2: 'nowhere.jpg' is not in the train part",
    "path,label\nX,class1\nX,class1\n": "'class0/0_0.jpg' is named 2 times",
    "file,label\na,b\n": "columns file, label; expected path,label or index,label",
    "path,label\nX,class1\n": "1 checked images; at least 2",
    "index,label\n1,class1\n2,class1\n": "own images have no fixed index",
}


@pytest.mark.parametrize("content", CHECKED)
def test_checked_labels_are_refused_by_line(tmp_path, content):
    root, _, _ = trees.photos(tmp_path / "photos", per_class=6, wrong=0.0, checked=2)
    file = tmp_path / "mine.csv"
    file.write_text(content.replace("X", "class0/0_0.jpg"))
    with pytest.raises(UserError, match=CHECKED[content]):
        load(f"imagefolder:{root}", checked=read_checked(file))


def test_fingerprint_follows_names_sizes_and_labels(tmp_path):
    root = trees.animal10n(tmp_path)
    first = load("animal10n", root).fingerprint()
    assert load("animal10n", root, budget_mb=0).fingerprint() == first  # streamed or resident
    (root / "training" / "3_3.jpg").rename(root / "training" / "4_3.jpg")
    assert load("animal10n", root).fingerprint() != first
