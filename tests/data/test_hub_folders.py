"""Folders of Parquet files in the Hub's form: whole, read by their content alone, and nothing outside of them."""

from __future__ import annotations

import io
import os
import shutil

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest
from odd_images import bomb
from PIL import Image

from noisybench.core.errors import UserError
from noisybench.data import load_dataset
from noisybench.data.decode import Preprocess
from noisybench.data.hub import open_hub
from noisybench.spec import registry

CLASSES = registry.dataset_card("cifar10").classes


def png(value: int, side: int = 32) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (value, value, value)).save(out, "PNG")
    return out.getvalue()


def write(file, rows: int, first: int = 0, *, labels=None, feature=None, **columns) -> None:
    """A Parquet file of grey images; row k has the grey value first + k and the label (first + k) mod 10."""
    numbers = range(first, first + rows)
    cells = {
        "img": [{"bytes": png(number % 256), "path": None} for number in numbers],
        "label": [number % 10 for number in numbers] if labels is None else labels,
    }
    features = {"img": datasets.Image(), "label": feature or datasets.Value("int64")}
    table = datasets.Dataset.from_dict(cells | columns, features=datasets.Features(features))
    file.parent.mkdir(parents=True, exist_ok=True)
    table.to_parquet(file)


@pytest.fixture
def folder(tmp_path):
    """20 train images in two shards, and 10 test images."""
    data = tmp_path / "data"
    write(data / "train-00000-of-00002.parquet", 10)
    write(data / "train-00001-of-00002.parquet", 10, first=10)
    write(data / "test-00000-of-00001.parquet", 10, first=100)
    return data


@pytest.fixture
def load(small_set):
    name = small_set("cifar10", train=20, test=10)
    return lambda path, **options: load_dataset(
        registry.dataset_card(name), data_path=path, image_size=None, limit_train=None, **options
    )


def refused(load, folder, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value) and " object at 0x" not in str(caught.value)


def test_shards_keep_their_order(folder, load):
    found = load(folder)
    assert found.train.pixels[:][:, 0, 0, 0].tolist() == list(range(20))
    assert found.train.labels.tolist() == [number % 10 for number in range(20)]
    assert found.test.pixels[:][:, 0, 0, 0].tolist() == list(range(100, 110))


def test_splits_are_found_by_the_words_of_names(folder, load, tmp_path):
    other = tmp_path / "other"
    for source, target in {
        "train-00000-of-00002": "plain_text/train/0000.parquet",
        "train-00001-of-00002": "plain_text/train/0001.parquet",
        "test-00000-of-00001": "plain_text/cifar_test.parquet",
    }.items():
        (other / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / f"{source}.parquet", other / target)
    assert load(other).fingerprint() == load(folder).fingerprint()


def test_one_of_two_shards_is_refused(folder, load):
    (folder / "train-00001-of-00002.parquet").unlink()
    refused(load, folder, "train-00001-of-00002.parquet is missing; 1 of 2 files are there")


def test_half_a_dataset_under_a_whole_name_is_refused(folder, load):
    """The shard's name does not say that there was another."""
    (folder / "train-00001-of-00002.parquet").unlink()
    (folder / "train-00000-of-00002.parquet").rename(folder / "train.parquet")
    refused(load, folder, r"data: 10 train images, and the card of small-cifar10 promises 20: get it whole")


@pytest.mark.parametrize("part", ["train", "test"])
def test_more_than_promised_is_refused(folder, load, part):
    write(folder / f"{part}-more.parquet", 5)
    refused(load, folder, f"{'25' if part == 'train' else '15'} {part} images, and the card")


def test_a_limit_does_not_make_half_a_dataset_whole(folder, small_set):
    card = registry.dataset_card(small_set("cifar10", train=40, test=10))
    with pytest.raises(UserError, match="20 train images, and the card .* promises 40"):
        load_dataset(card, data_path=folder, image_size=None, limit_train=10)


def test_a_file_replaced_in_place_with_its_old_time_is_seen(folder, load):
    before = load(folder)
    file = folder / "train-00000-of-00002.parquet"
    old = file.stat()
    other = [(number + 1) % 10 for number in range(10)]
    content = file.read_bytes()
    write(file, 10, first=30, labels=other)
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    assert file.stat().st_mtime_ns == old.st_mtime_ns and file.read_bytes() != content
    after = load(folder)
    assert after.train.pixels[:][:10, 0, 0, 0].tolist() == list(range(30, 40))
    assert after.train.labels[:10].tolist() == other
    assert after.fingerprint() != before.fingerprint()
    file.write_bytes(content)
    assert load(folder).fingerprint() == before.fingerprint()


def test_pixels_kept_under_other_rules_of_decoding_are_not_used(folder, load, monkeypatch):
    load(folder)
    card = registry.dataset_card("small-cifar10")
    decoded = []
    original = Preprocess.__call__
    monkeypatch.setattr(Preprocess, "__call__", lambda self, cell: decoded.append(cell) or original(self, cell))
    load(folder)
    assert not decoded  # all pixels were kept
    keys = {pixels.cache_key for pixels, _ in open_hub(card, folder, Preprocess.of(card, None))}
    monkeypatch.setattr("noisybench.data.hub.RULES", 10**6)
    load(folder)
    assert len(decoded) == 30
    assert not keys & {pixels.cache_key for pixels, _ in open_hub(card, folder, Preprocess.of(card, None))}


def test_paths_in_cells_are_not_followed(folder, load, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(7))
    images = [{"bytes": png(1), "path": str(secret)} for _ in range(9)] + [{"bytes": None, "path": str(secret)}]
    file = folder / "train-00000-of-00002.parquet"
    table = pyarrow.parquet.read_table(file)
    cells = pa.array(images, table["img"].type)
    pyarrow.parquet.write_table(table.set_column(0, table.schema.field("img"), cells), file)
    refused(load, folder, r"row 9 holds no bytes of an image \(paths are not followed\) \(1 of 20 images is bad\)")


def test_a_path_that_is_no_utf8_does_no_harm(folder, load):
    expected = load(folder).fingerprint()
    file = folder / "train-00000-of-00002.parquet"
    table = pyarrow.parquet.read_table(file)
    paths = pa.array([b"caf\xe9"] * 10).view(pa.string())
    content = pa.array([cell["bytes"] for cell in table["img"].to_pylist()], pa.binary())
    cells = pa.StructArray.from_arrays([content, paths], names=["bytes", "path"])
    pyarrow.parquet.write_table(table.set_column(0, table.schema.field("img"), cells), file)
    assert load(folder).fingerprint() == expected


def test_a_cell_without_an_image_is_named(folder, load):
    file = folder / "train-00000-of-00002.parquet"
    table = pyarrow.parquet.read_table(file)
    cells = pa.array([*table["img"].to_pylist()[:9], None], table["img"].type)
    pyarrow.parquet.write_table(table.set_column(0, table.schema.field("img"), cells), file)
    refused(load, folder, "row 9 holds no bytes of an image")


def test_a_column_of_paths_is_refused(folder, load, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(7))
    for name in ("train-00000-of-00002", "train-00001-of-00002"):
        table = pa.table({"img": [str(secret)] * 10, "label": list(range(10))})
        pyarrow.parquet.write_table(table, folder / f"{name}.parquet")
    refused(load, folder, "holds no bytes of an image")


@pytest.mark.parametrize("pattern", ["/absolute", "../outside"])
def test_a_readme_leads_nowhere(folder, load, tmp_path, pattern):
    """The Hub's client reads what a README names, wherever it lies."""
    for name in ("train", "test"):
        write(tmp_path / "outside" / f"{name}.parquet", 20 if name == "train" else 10, first=200)
    place = str(tmp_path / "outside") if pattern == "/absolute" else "../outside"
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n"
        f"  - split: train\n    path: {place}/train.parquet\n  - split: test\n    path: {place}/test.parquet\n---\n"
    )
    assert load(folder).train.pixels[:][:, 0, 0, 0].tolist() == list(range(20))


LABELS = {
    "floats": (pa.array([3.7] * 10), "holds double, not whole numbers"),
    "whole floats": (pa.array([3.0] * 10), "holds double, not whole numbers"),
    "names": (pa.array(["cat"] * 10), "holds string, not whole numbers"),
    "truth values": (pa.array([True] * 10), "holds bool, not whole numbers"),
    "lists": (pa.array([[3]] * 10), "holds list<.*>, not whole numbers"),
    "none": (pa.array([3] * 9 + [None]), "1 of 10 rows have no label"),
    "below 0": (pa.array([3] * 9 + [-1]), r"row 9 has label -1, outside 0..9 \(1 such rows\)"),
    "beyond int64": (pa.array([3] * 9 + [2**63], pa.uint64()), "row 9 has label 9223372036854775808, outside 0..9"),
}


@pytest.mark.parametrize("what", LABELS)
def test_labels_that_are_no_class_ids_are_refused(folder, load, what):
    column, message = LABELS[what]
    table = pyarrow.parquet.read_table(folder / "test-00000-of-00001.parquet")
    table = pa.table({"img": table["img"], "label": column})
    pyarrow.parquet.write_table(table, folder / "test-00000-of-00001.parquet")
    refused(load, folder, f"test: column 'label'.*{message}")


def named(folder, names: list[str]) -> None:
    for name, rows, first in (("train-00000-of-00002", 10, 0), ("train-00001-of-00002", 10, 10), ("test", 10, 0)):
        for file in folder.glob(f"{name}*"):
            file.unlink()
        write(folder / f"{name}.parquet", rows, first, feature=datasets.ClassLabel(names=names))


def test_class_names_in_the_cards_order_are_taken(folder, load):
    named(folder, CLASSES)
    assert load(folder).train.labels.tolist() == [number % 10 for number in range(20)]


def test_class_names_may_be_written_otherwise_or_be_ids(folder, load):
    named(folder, [name.upper() + " ." for name in CLASSES])
    load(folder)
    named(folder, [str(number) for number in range(10)])
    load(folder)
    named(folder, ["aeroplane", *CLASSES[1:]])  # one of ten may be misspelt, as one of the Hub's CIFAR-100 is
    load(folder)


OTHER_CLASSES = {
    "another order": (sorted(CLASSES, reverse=True), "another order .* 'truck' is class 0 there and 9 here"),
    "two swapped": (
        [CLASSES[1], CLASSES[0], *CLASSES[2:]],
        "another order .* 'automobile' is class 0 there and 1 here",
    ),
    "another dataset": ([f"fruit {number}" for number in range(10)], "'fruit 0' is none of them"),
    "fewer": (CLASSES[:9], "it has 9 classes, not the 10 of small-cifar10"),
    "more": ([*CLASSES, "tree"], "it has 11 classes, not the 10 of small-cifar10, 'tree' is none of them"),
}


@pytest.mark.parametrize("what", OTHER_CLASSES)
def test_other_class_names_are_refused(folder, load, what):
    names, message = OTHER_CLASSES[what]
    for name, rows in (("train-00000-of-00002", 10), ("train-00001-of-00002", 10), ("test-00000-of-00001", 10)):
        labels = [number % len(names) for number in range(rows)]
        write(folder / f"{name}.parquet", rows, labels=labels, feature=datasets.ClassLabel(names=names))
    refused(load, folder, f"column 'label'.*{message}")


def test_shards_that_name_classes_otherwise_are_refused(folder, load):
    feature = datasets.ClassLabel(names=[CLASSES[1], CLASSES[0], *CLASSES[2:]])
    write(folder / "train-00000-of-00002.parquet", 10, feature=datasets.ClassLabel(names=CLASSES))
    write(folder / "train-00001-of-00002.parquet", 10, feature=feature)
    refused(load, folder, "train-00001-of-00002.parquet: its columns have other types or class names")


def test_bombs_are_refused(folder, load):
    for side, said in ((12000, "is 12000×12000 pixels, not 32×32"), (20000, "is larger than 67,108,864 pixels")):
        images = [{"bytes": bomb(side, side, rows=1), "path": None}] * 10
        write(folder / "train-00000-of-00002.parquet", 10, img=images)
        refused(load, folder, rf"row 0 {said}.* \(10 of 20 images are bad\)")


def test_a_table_that_unpacks_to_far_more_than_itself_is_refused(folder, load, monkeypatch):
    """One cell of zeros a thousand times: Parquet keeps it once."""
    monkeypatch.setattr("noisybench.data.parquet_files.ALWAYS", 2**20)
    cell = {"bytes": bytes(100_000), "path": None}
    table = pa.table({"img": pa.array([cell] * 1000), "label": [0] * 1000})
    (folder / "train-00001-of-00002.parquet").unlink()
    (folder / "train-00000-of-00002.parquet").unlink()
    file = folder / "train.parquet"
    pyarrow.parquet.write_table(table, file, compression="zstd")
    assert file.stat().st_size < 20_000
    refused(load, folder, "unpacks to more than .* bytes, which no table of images does")


def test_a_damaged_description_of_columns_is_one_line(folder, load):
    file = folder / "train-00000-of-00002.parquet"
    table = pyarrow.parquet.read_table(file)
    harm = b'{"info": {"features": {"img": {"_type": "Nothing"}, "label": {"_type": []}}}}'
    pyarrow.parquet.write_table(table.replace_schema_metadata({b"huggingface": harm}), file)
    refused(load, folder, "the description of its columns is damaged")


def test_without_a_cache_everything_is_read_all_the_same(folder, load, monkeypatch):
    expected = load(folder).fingerprint()
    monkeypatch.setenv("NOISYBENCH_CACHE", os.devnull + "/nowhere")
    assert load(folder).fingerprint() == expected
    assert load(folder, budget_mb=0).fingerprint() == expected


def test_files_are_named(folder, load):
    refused(load, folder / "train-00000-of-00002.parquet", "a file, and no archive of small-cifar10")
    os.symlink(folder / "nowhere", folder / "train-00003-of-00004.parquet")
    refused(load, folder, "train-00003-of-00004.parquet: no file; is it a link to nothing?")
