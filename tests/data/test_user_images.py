"""Anybody's own images: what is read and what is left out, by which names, and what stands there twice."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import trees
from PIL import Image

from noisybench.core.errors import UserError
from noisybench.data import contents, load_dataset, open_limited
from noisybench.spec import registry
from noisybench.spec.checked_labels import read_checked
from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve
from noisybench.spec.user_images import class_order, own_train_size


def load(name, **options):
    options = {"image_size": 16, "limit_train": None, "data_path": None} | options
    return load_dataset(registry.dataset_card(name), **options)


def refused(name, message: str, **options) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load(name, **options)
    text = str(caught.value)
    assert "\n" not in text and "np." not in text and " object at 0x" not in text


def folder(root: Path, classes=("cat", "dog"), per_class: int = 10) -> Path:
    """Pictures CLASS/NUMBER_ROW.png, no two alike; with ``train/`` in the root's name it is the train part."""
    for number, name in enumerate(classes):
        for row in range(per_class):
            trees.photo(Path(root / name / f"{number}_{row}.png"), number, row, (16, 16))
    return root


def files(part) -> list[str]:
    return [part.pixels.file(row) for row in range(len(part))]


def csv(tmp_path, *rows: str, header: str = "path,label,split") -> str:
    (tmp_path / "list.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return f"csv:{tmp_path / 'list.csv'}"


# --- classes ---


def test_numeric_class_folders_are_in_the_order_of_their_numbers(tmp_path):
    root = folder(tmp_path / "photos", [str(number) for number in range(12)], per_class=3)
    found = load(f"imagefolder:{root}")
    assert found.card.classes == [str(number) for number in range(12)]
    for part in (found.train, found.test):
        assert [int(name.split("/")[0]) for name in files(part)] == part.labels.tolist()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["10", "9", "1"], ["1", "9", "10"]),
        (["10", "9", "b"], ["10", "9", "b"]),
        (["2", "01", "1"], ["01", "1", "2"]),
    ],
)
def test_class_order(names, expected):
    assert class_order(names) == expected


def test_csv_and_folder_give_classes_the_same_ids(tmp_path):
    root = folder(tmp_path / "photos", [str(number) for number in range(12)], per_class=3)
    rows = [f"photos/{file.parent.name}/{file.name},{file.parent.name},train" for file in sorted(root.rglob("*.png"))]
    rows[-1] = rows[-1].replace("train", "test")
    assert load(csv(tmp_path, *rows)).card.classes == load(f"imagefolder:{root}").card.classes


CHECKED = {
    "an id of the sorted folders": ("1", "line 2 has label '1', which is no class; give the name of a class, such as"),
    "a float": ("1.0", "line 2 has label '1.0', which is no class"),
    "nan": ("nan", "line 2 has label 'nan', which is no class"),
    "nothing": ("", "line 2 has label '', which is no class"),
    "another name": ("cow", r"line 2 has label 'cow', which is no class.* \(1 such lines\)"),
}


@pytest.mark.parametrize("what", CHECKED)
def test_a_checked_label_is_the_name_of_a_class(tmp_path, what):
    label, message = CHECKED[what]
    root = folder(tmp_path / "photos")
    (tmp_path / "checked.csv").write_text(f"path,label\ncat/0_0.png,{label}\ndog/1_0.png,dog\n")
    refused(f"imagefolder:{root}", message, checked=read_checked(tmp_path / "checked.csv"))


def test_a_checked_number_outside_the_numbered_classes_is_refused(tmp_path):
    """Folders 2, 10 and 30: the number 1 would be the id of folder 10."""
    root = folder(tmp_path / "photos", ["2", "10", "30"])
    (tmp_path / "checked.csv").write_text("path,label\n2/0_0.png,1\n10/1_0.png,10\n")
    refused(f"imagefolder:{root}", "label '1', which is no class", checked=read_checked(tmp_path / "checked.csv"))
    (tmp_path / "checked.csv").write_text("path,label\n2/0_0.png,30\n10/1_0.png,10\n")
    found = load(f"imagefolder:{root}", checked=read_checked(tmp_path / "checked.csv"))
    assert {file: truth for file, truth in zip(files(found.train), found.truth, strict=True) if truth >= 0} == {
        "2/0_0.png": 2,
        "10/1_0.png": 1,
    }


def test_ids_are_read_of_published_sets_with_named_classes(tmp_path, small_set):
    root = trees.animal10n(tmp_path / "animals")
    name = small_set("animal10n", root)
    for labels in (("3", "9"), ("coyote", "guinea pig")):
        (tmp_path / "checked.csv").write_text(
            f"path,label\ntraining/0_0.jpg,{labels[0]}\ntraining/1_1.jpg,{labels[1]}\n"
        )
        found = load(name, data_path=root, checked=read_checked(tmp_path / "checked.csv"))
        assert sorted(found.truth[found.truth >= 0].tolist()) == [3, 9]


def test_spaces_are_no_part_of_a_name(tmp_path):
    folder(tmp_path)
    rows = [f'"cat/0_{row}.png"," cat ",train' for row in (1, 2)] + [f"dog/1_{row}.png,dog , train" for row in (1, 2)]
    rows += ["cat/0_0.png,cat,test"]
    found = load(csv(tmp_path, *rows, header=" path , label,split"))
    assert found.card.classes == ["cat", "dog"] and found.train.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("twin", ["cat ", " cat", "cat\u00a0"])
def test_two_folders_of_one_class_are_refused(tmp_path, twin):
    root = folder(tmp_path / "photos", ["cat", "dog", twin])
    refused(f"imagefolder:{root}", r"the folders .* are one class \(they differ in spaces")


def test_a_folder_with_a_space_is_the_class_without(tmp_path):
    root = folder(tmp_path / "photos", ["cat ", "dog"])
    (tmp_path / "checked.csv").write_text("path,label\ncat /0_0.png,cat\ndog/1_0.png,dog\n")
    found = load(f"imagefolder:{root}", checked=read_checked(tmp_path / "checked.csv"))
    assert found.card.classes == ["cat", "dog"] and (found.truth >= 0).sum() == 2


@pytest.mark.parametrize("label", ["nan", "NaN", "<NA>", "null", "N/A", "  "])
def test_a_missing_label_is_no_class(tmp_path, label):
    refused(csv(tmp_path, "a.png,cat,train", f"b.png,{label},train"), r"line 3 has .*\(1 of 2 rows are wrong\)")


def test_a_byte_order_mark_hides_no_column(tmp_path):
    folder(tmp_path)
    rows = ["cat/0_0.png,cat,train", "dog/1_0.png,dog,train", "dog/1_1.png,dog,test"]
    name = csv(tmp_path, *rows)
    content = (tmp_path / "list.csv").read_bytes()
    (tmp_path / "list.csv").write_bytes(b"\xef\xbb\xbf" + content)
    assert load(name).card.classes == ["cat", "dog"]
    (tmp_path / "checked.csv").write_bytes(b"\xef\xbb\xbfpath,label\ncat/0_0.png,cat\ndog/1_0.png,dog\n")
    assert len(read_checked(tmp_path / "checked.csv")) == 2


ODD_TABLES = {
    "Latin-1": ("path,label\na,café\n".encode("latin-1"), "not in UTF-8 .byte 17 of the file.: save it as UTF-8"),
    "UTF-16": ("path,label\na,b\n".encode("utf-16"), "not in UTF-8"),
    "semicolons": (b"path;label\na;b\n", "no column 'path'; found path;label; expected .* separated by commas"),
    "a comma in a name": (b"path,label\na,b.png,cat\n", "line 2 has 3 cells and the header 2: put text that holds a"),
    "a line break in a column's name": (b'path,"la\nbel"\na,b\n', r"no column 'label'; found path, la\\nbel; expected"),
    "a short row": (b"path,label\na.png\n", "line 2 has no path or no label"),
    "NUL": (b"path,label\na\0.png,cat\n", "line contains NUL|no image|classes found"),
    "nothing": (b"", "no column 'path'; found none"),
    "val": (b"path,label,split\na,b,val\nc,d,train\n", "line 2 has split 'val', which is neither train nor test"),
}


@pytest.mark.parametrize("what", ODD_TABLES)
def test_odd_tables_are_refused(tmp_path, what):
    content, message = ODD_TABLES[what]
    (tmp_path / "list.csv").write_bytes(content)
    refused(f"csv:{tmp_path / 'list.csv'}", message)


NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_both_forms_of_letters_name_a_class(tmp_path):
    root = tmp_path / "photos"
    folder(root / "train", [NFD, "dog"])
    folder(root / "test", [NFC, "dog"], per_class=2)
    for row in range(2):  # other pictures than those of the train part
        trees.photo(root / "test" / NFC / f"0_{row}.png", 0, 50 + row, (16, 16))
        trees.photo(root / "test" / "dog" / f"1_{row}.png", 1, 50 + row, (16, 16))
    (tmp_path / "checked.csv").write_text(f"path,label\ntrain/{NFC}/0_0.png,{NFC}\ntrain/dog/1_0.png,{NFD}\n")
    found = load(f"imagefolder:{root}", checked=read_checked(tmp_path / "checked.csv"))
    assert found.card.classes == [NFC, "dog"] and found.test.labels.tolist() == [0, 0, 1, 1]
    assert found.truth[found.truth >= 0].tolist() == [0, 0]
    assert files(found.train)[0] == f"train/{NFD}/0_0.png"  # as it is on the disk


def test_one_class_in_both_forms_is_refused_and_told_apart(tmp_path):
    root = folder(tmp_path / "photos", [NFC, NFD, "dog"])
    refused(f"imagefolder:{root}", r"the folders 'cafe\\u0301' and 'caf\\xe9' are one class")


def test_files_in_the_other_form_are_found(tmp_path):
    folder(tmp_path, ["cat", "dog"])
    (tmp_path / "cat" / "0_0.png").rename(tmp_path / "cat" / f"{NFD}.png")
    rows = [f"cat/{NFC}.png,cat,train", "dog/1_0.png,dog,train", "dog/1_1.png,dog,test"]
    assert files(load(csv(tmp_path, *rows)).train)[0] == f"cat/{NFD}.png"


def test_of_two_files_that_look_alike_the_named_one_is_meant(tmp_path):
    root = folder(tmp_path / "photos")
    (root / "cat" / "0_0.png").rename(root / "cat" / f"{NFC}.png")
    (root / "cat" / "0_1.png").rename(root / "cat" / f"{NFD}.png")
    (tmp_path / "checked.csv").write_text(f"path,label\ncat/{NFD}.png,dog\ndog/1_0.png,dog\n")
    found = load(f"imagefolder:{root}", checked=read_checked(tmp_path / "checked.csv"))
    assert found.truth[files(found.train).index(f"cat/{NFD}.png")] == 1
    (tmp_path / "checked.csv").write_text(f"path,label\ncat/{NFD}x.png,dog\ndog/1_0.png,dog\n")
    refused(f"imagefolder:{root}", r"'cat/cafe\\u0301x.png' is not in", checked=read_checked(tmp_path / "checked.csv"))


# --- what is left out ---


def test_everything_that_is_not_read_is_counted(tmp_path):
    root = folder(tmp_path / "photos")
    (root / "cat" / "2021" / "may").mkdir(parents=True)
    for file in ("cat/2021/a.png", "cat/2021/may/b.png", "stray.png", "cat/.hidden.png", "cat/.git/x", ".DS_Store"):
        (root / file).parent.mkdir(exist_ok=True)
        (root / file).write_bytes(b"x")
    for file in ("dog/a.heic", "dog/notes.txt", "dog/no_suffix"):
        (root / file).write_bytes(b"x")
    os.symlink("nowhere.png", root / "dog" / "dangling.png")
    os.symlink(root / "cat", root / "dog" / "loop")  # a folder, and not followed
    os.mkfifo(root / "dog" / "pipe.png")
    name = f"imagefolder:{root}"
    found = load(name)
    assert len(found.train) + len(found.test) == 20
    (line,) = found.notes
    for count in ("3 in folders that are not read", "3 hidden", "3 no image by their name", "1 links to nothing"):
        assert count in line, line
    assert line.startswith("12 files are left out") and "1 no regular files" in line and "1 in no class's" in line
    assert f"noisybench data verify {name}" in line


def test_folders_beside_train_and_test_are_counted(tmp_path):
    root = tmp_path / "photos"
    folder(root / "train")
    folder(root / "test", per_class=1)
    for row in range(2):
        trees.photo(root / "test" / ("cat", "dog")[row] / f"{row}_0.png", row, 90, (16, 16))
    folder(root / "val", per_class=4)
    folder(root / "validation" / "deep", per_class=1)
    (root / "readme.txt").write_text("x")
    found = load(f"imagefolder:{root}")
    assert (len(found.train), len(found.test)) == (20, 2)
    assert found.notes[0].startswith("11 files are left out: 1 in no class's folder, 10 in folders that are not read")


@pytest.mark.parametrize("others", [["val"], ["test", "training"], ["Test", "cow"], ["validation", "cow", "dog"]])
def test_parts_are_not_taken_for_classes(tmp_path, others):
    root = folder(tmp_path / "photos", others)
    refused(f"imagefolder:{root}", "and no folder train; expected")


def test_verify_names_what_is_left_out(tmp_path, cli):
    root = folder(tmp_path / "photos")
    (root / "cat" / "deep").mkdir()
    (root / "cat" / "deep" / "a.png").write_bytes(b"x")
    (root / "cat" / "b\n\x1b[31m.heic").write_bytes(b"x")
    shutil.copy(root / "dog" / "1_0.png", root / "dog" / "copy.png")
    code, out, err = cli("data", "verify", f"imagefolder:{root}")
    lines = [line.strip() for line in out.splitlines()]
    assert code == 0 and not err and "all there, all images decode" in lines
    for reason, file in (
        ("left out, in folders that are not read: 1", "cat/deep/a.png"),
        ("left out, no image by their name: 1", "cat/b\\n\\x1b[31m.heic"),
        ("left out, copies of another training image: 1", "dog/copy.png"),
    ):
        assert lines[lines.index(reason) + 1] == file
    assert "train: 16 images" in lines and "test: 4 images" in lines


def test_run_says_how_many_are_left_out(tmp_path, cli):
    root = folder(tmp_path / "photos")
    (root / "cat" / "a.heic").write_bytes(b"x")
    options = ("--image-size", "16", "--model", "noisybench_mlp", "--epochs", "1", "--output", tmp_path / "run")
    code, out, err = cli("run", "--dataset", f"imagefolder:{root}", *options)
    assert code == 0 and "1 file is left out: 1 no image by their name; `noisybench data verify" in out, err


@pytest.mark.parametrize("place", ["", "cat", "train"])
def test_a_folder_that_may_not_be_read_is_one_line(tmp_path, cli, monkeypatch, place):
    root = folder(tmp_path / "photos")
    (root / "train").mkdir() if place == "train" else None
    scandir = os.scandir

    def guarded(path="."):
        if os.fspath(path).rstrip("/") == str(root / place).rstrip("/"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    for command in (("run",), ("data", "verify"), ("data", "info")):
        option = ("--dataset",) if command == ("run",) else ()
        code, out, err = cli(*command, *option, f"imagefolder:{root}")
        assert code == 2 and err.count("\n") == 1 and "cannot be read (permission denied)" in err, err
        assert str(root / place) in err


# --- the same picture twice ---


def test_one_file_by_two_names_is_refused_or_counted(tmp_path):
    folder(tmp_path)
    rest = [f"dog/1_{row}.png,dog,train" for row in range(3)]
    both = csv(tmp_path, "cat/0_0.png,cat,train", "./cat/../cat/0_0.png,cat,test", *rest)
    refused(both, "cat/0_0.png is listed twice: as 'cat' .train. in line 2 and as 'cat' .test. in line 3")
    absolute = csv(tmp_path, "cat/0_0.png,cat,train", f"{tmp_path}/cat/0_0.png,dog,train", *rest)
    refused(absolute, "cat/0_0.png is listed twice: as 'cat' .train. in line 2 and as 'dog' .train. in line 3")
    same = load(csv(tmp_path, "cat/0_0.png,cat,train", "cat//0_0.png,cat,train", "cat/0_1.png,cat,test", *rest))
    assert files(same.train)[0] == "cat/0_0.png" and len(same.train) == 4
    assert same.notes[0].startswith("1 file is left out: 1 listed twice")


def with_test(tmp_path) -> Path:
    root = tmp_path / "photos"
    folder(root / "train")
    for row in range(3):
        trees.photo(root / "test" / "cat" / f"0_{row}.png", 0, 50 + row, (16, 16))
        trees.photo(root / "test" / "dog" / f"1_{row}.png", 1, 50 + row, (16, 16))
    return root


def again(source: Path, target: Path) -> None:
    """The same picture as another file: without loss, in another format."""
    with Image.open(source) as opened:
        opened.save(target)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_a_copy_of_a_test_image_leaves_the_train_part(tmp_path, suffix):
    root = with_test(tmp_path)
    again(root / "test" / "cat" / "0_1.png", root / "train" / "dog" / f"innocent{suffix}")
    found = load(f"imagefolder:{root}")
    assert (len(found.train), len(found.test)) == (20, 6)
    assert not any("innocent" in file for file in files(found.train))
    assert found.notes[0].startswith("1 file is left out: 1 copies of a test image")


def test_copies_within_a_part(tmp_path):
    root = with_test(tmp_path)
    shutil.copy(root / "train" / "cat" / "0_0.png", root / "train" / "cat" / "z.png")
    shutil.copy(root / "train" / "cat" / "0_1.png", root / "train" / "dog" / "y.png")
    shutil.copy(root / "test" / "cat" / "0_1.png", root / "test" / "cat" / "x.png")
    shutil.copy(root / "test" / "cat" / "0_2.png", root / "test" / "dog" / "w.png")
    os.link(root / "train" / "cat" / "0_3.png", root / "train" / "cat" / "v.png")
    os.symlink(root / "train" / "cat" / "0_4.png", root / "train" / "cat" / "u.png")
    found = load(f"imagefolder:{root}")
    gone = {"train/cat/z.png", "train/cat/0_1.png", "train/dog/y.png", "train/cat/v.png", "train/cat/u.png"}
    gone |= {"test/cat/x.png", "test/cat/0_2.png", "test/dog/w.png"}
    there = {str(file.relative_to(root)) for file in root.rglob("*.png")}
    assert there - {*files(found.train), *files(found.test)} == gone
    for count in (
        "3 copies of another training",
        "4 one picture under several",
        "1 copies of another image of the test",
    ):
        assert count in found.notes[0]


def test_no_copy_of_a_checked_image_is_trained_or_tested_on(tmp_path):
    root = with_test(tmp_path)
    shutil.copy(root / "train" / "cat" / "0_0.png", root / "train" / "dog" / "y.png")
    shutil.copy(root / "train" / "dog" / "1_0.png", root / "test" / "dog" / "x.png")
    (tmp_path / "checked.csv").write_text("path,label\ntrain/dog/y.png,cat\ntrain/dog/1_0.png,dog\n")
    found = load(f"imagefolder:{root}", checked=read_checked(tmp_path / "checked.csv"))
    assert not {"train/cat/0_0.png", "test/dog/x.png"} & {*files(found.train), *files(found.test)}
    assert {file: truth for file, truth in zip(files(found.train), found.truth, strict=True) if truth >= 0} == {
        "train/dog/y.png": 0,
        "train/dog/1_0.png": 1,
    }
    assert found.notes[0].startswith("2 files are left out: 2 copies of a checked image")


def test_one_picture_checked_twice_is_refused(tmp_path):
    root = with_test(tmp_path)
    shutil.copy(root / "train" / "cat" / "0_0.png", root / "train" / "dog" / "y.png")
    (tmp_path / "checked.csv").write_text("path,label\ntrain/dog/y.png,cat\ntrain/cat/0_0.png,dog\n")
    refused(
        f"imagefolder:{root}",
        "train/cat/0_0.png and train/dog/y.png are the same picture and both checked",
        checked=read_checked(tmp_path / "checked.csv"),
    )


def test_the_drawn_test_part_holds_no_copy_of_a_train_image(tmp_path):
    root = folder(tmp_path / "photos", per_class=40)
    for row in range(40):
        shutil.copy(root / "cat" / f"0_{row}.png", root / "cat" / f"copy{row}.png")
    found = load(f"imagefolder:{root}")
    pictures = [{(root / file).read_bytes() for file in files(part)} for part in (found.train, found.test)]
    assert len(pictures[0]) + len(pictures[1]) == 80 and not pictures[0] & pictures[1]


def test_a_picture_in_both_parts_of_a_published_set_is_reported_only(tmp_path, small_set, cli):
    root = trees.animal10n(tmp_path / "animals")  # whose test images are those of the train part
    trees.photo(root / "testing" / "3_3.jpg", 3, 1000, (64, 64))
    name = small_set("animal10n", root)
    assert (len(load(name, data_path=root).train), len(load(name, data_path=root).test)) == (40, 20)
    code, out, _ = cli("data", "verify", name, "--data-path", root)
    assert code == 0 and "note: 19 images of the test part are in the train part too, pixel for pixel" in out


# --- content ---


def test_a_photo_replaced_in_place_changes_the_fingerprint(tmp_path):
    """Same size in bytes, same times of modification."""
    root = folder(tmp_path / "photos")
    for number in range(10):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(root / "cat" / f"{number}.bmp")
    name, file = f"imagefolder:{root}", root / "cat" / "7.bmp"
    os.utime(file, ns=(10**18, 10**18))
    before = load(name)
    assert load(name).fingerprint() == before.fingerprint() == load(name, budget_mb=0).fingerprint()
    size = file.stat().st_size
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(file)
    os.utime(file, ns=(10**18, 10**18))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (size, 10**18)
    assert load(name).fingerprint() != before.fingerprint()


def test_a_second_start_decodes_nothing_that_it_knows(tmp_path, monkeypatch):
    root = folder(tmp_path / "photos")
    monkeypatch.setattr("noisybench.data.contents.SETTLED", -(10**12))  # all files have settled
    name = f"imagefolder:{root}"
    first = load(name, budget_mb=0)
    looked = []
    look_at = contents._look_at
    monkeypatch.setattr(contents, "_look_at", lambda file: looked.append(file.name) or look_at(file))
    assert load(name, budget_mb=0).fingerprint() == first.fingerprint() and looked == []
    trees.photo(root / "cat" / "0_3.png", 0, 99, (16, 16))
    second = load(name, budget_mb=0)
    assert looked == ["0_3.png"] and second.fingerprint() != first.fingerprint()


def test_a_damaged_memory_is_not_believed(tmp_path, monkeypatch):
    root = folder(tmp_path / "photos")
    monkeypatch.setenv("NOISYBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("noisybench.data.contents.SETTLED", -(10**12))
    name = f"imagefolder:{root}"
    first = load(name).fingerprint()
    (memory,) = (tmp_path / "cache" / "seen").iterdir()
    for content in (b"", b"PK", memory.read_bytes()[:200]):
        memory.write_bytes(content)
        assert load(name).fingerprint() == first


# --- names that are no UTF-8 ---


def odd_folder(tmp_path) -> Path:
    root = folder(tmp_path / "photos")
    os.rename(root / "cat" / "0_0.png", os.fsencode(root / "cat") + b"/caf\xe9.png")
    os.rename(root / "dog", os.fsencode(root) + b"/\xf1andu")
    return root


def test_a_run_on_names_that_are_no_utf8_completes(tmp_path, cli):
    root = odd_folder(tmp_path)
    (tmp_path / "checked.csv").write_text("path,label\ncat/caf\\xe9.png,cat\n\\xf1andu/1_3.png,\\xf1andu\n")
    options = ("--method", "elr", "--image-size", "16", "--model", "noisybench_mlp", "--epochs", "1")
    arguments = ("--dataset", f"imagefolder:{root}", "--set", "meta_size=0", "--set", "clean_val_size=0")
    code, out, err = cli("run", *arguments, *options, "--output", tmp_path / "run")
    assert code == 0, err
    named = pyarrow.parquet.read_table(tmp_path / "run" / "labels.parquet")["file"].to_pylist()
    everything = {"cat/caf\\xe9.png"} | {f"\\xf1andu/1_{row}.png" for row in range(10)}
    assert set(named) <= everything | {f"cat/0_{row}.png" for row in range(10)} and set(named) & everything
    for command in (("data", "verify"), ("data", "info")):
        code, out, err = cli(
            *command, f"imagefolder:{root}", *(("--output", tmp_path / "s.png") * (command[1] == "info"))
        )
        assert code == 0 and not err
    # what is written can be given back
    found = load(f"imagefolder:{root}", checked=read_checked(tmp_path / "checked.csv"))
    assert (found.truth >= 0).sum() == 2 and found.card.classes == ["\\xf1andu", "cat"]


def test_names_that_are_no_utf8_are_shown_in_messages(tmp_path, cli):
    root = odd_folder(tmp_path)
    with open(os.fsencode(root / "cat") + b"/bad\xe9.png", "wb") as opened:
        opened.write(b"no image")
    code, _, err = cli("run", "--dataset", f"imagefolder:{root}", "--output", tmp_path / "run")
    assert code == 2 and "cat/bad\\xe9.png cannot be decoded" in err
    code, out, _ = cli("data", "verify", f"imagefolder:{root}")
    assert code == 2 and "cat/bad\\xe9.png cannot be decoded" in out


# --- sizes ---


def no_decoding(monkeypatch):
    monkeypatch.setattr(contents, "_look_at", lambda file: pytest.fail("an image was decoded"))


def checked_file(tmp_path, root, count: int) -> Path:
    names = sorted(str(file.relative_to(root)) for file in root.rglob("*.png"))[:: 200 // count][:count]
    file = tmp_path / "checked.csv"
    file.write_text("\n".join(["path,label", *(f"{name},{name.split('/')[0]}" for name in names)]) + "\n")
    return file


def big_folder(tmp_path) -> Path:
    """200 pictures of two classes; nobody needs to look at them."""
    root = tmp_path / "photos"
    for number, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for row in range(100):
            Image.fromarray(np.full((4, 4), 100 * number + row, np.uint8)).save(root / name / f"{row:03}.png")
    return root


SIZES = {
    "more than are checked": (
        ("--meta-size", "50"),
        r"meta_size 50 \+ clean_val_size 8, and true labels are known of 40",
    ),
    "with what it leaves": (("--meta-size", "36"), r"known of 40 images: make meta_size at most 32"),
    "the other one": (("--set", "clean_val_size=30"), r"known of 40 images: make meta_size at most 10"),
    "the whole set": (
        ("--set", "noisy_val_size=130"),
        "leave nothing of the 168 training images to train on: make noisy",
    ),
    "beyond the data": (("--limit-train", "500"), "--limit-train 500: .* has 168 training images"),
    "a limit with sizes": (
        ("--limit-train", "84", "--meta-size", "30"),
        r"--limit-train 84 leaves too few images for the held-out parts: meta_size 30 \+ clean_val_size 4, and",
    ),
    "a limit alone": (
        ("--limit-train", "8"),
        "--limit-train 8 with --clean-labels: of 40 checked images among 168 it leaves 1, .*; make it 9 or more",
    ),
}


@pytest.mark.parametrize("what", SIZES)
def test_sizes_that_cannot_fit_are_found_at_once_and_named(tmp_path, cli, monkeypatch, what):
    root = big_folder(tmp_path)
    no_decoding(monkeypatch)
    options, message = SIZES[what]
    arguments = ("--dataset", f"imagefolder:{root}", "--clean-labels", checked_file(tmp_path, root, 40), *options)
    code, _, err = cli("run", *arguments, "--output", tmp_path / "run")
    assert code == 2 and err.count("\n") == 1
    assert re.search(message, err), err
    assert not (tmp_path / "run").exists()


def test_held_out_parts_of_checked_images_shrink_with_the_limit(tmp_path, cli):
    """Of 168 training images 40 are checked; half of them leaves 20: 16 meta, 4 validation."""
    root = big_folder(tmp_path)
    checked = checked_file(tmp_path, root, 40)
    name = f"imagefolder:{root}"
    assert own_train_size(name, 40) == 200 - 32
    options = ("--clean-labels", checked, "--limit-train", "84", "--image-size", "8", "--model", "noisybench_mlp")
    code, out, err = cli("run", "--dataset", name, *options, "--epochs", "1", "--output", tmp_path / "run")
    assert code == 0, err
    assert "64 noisy train, 16 clean meta, 0 noisy and 4 clean validation, 32 test images" in out


def test_they_shrink_where_the_card_knows_the_size(tmp_path):
    """A tenth of ANIMAL-10N's 50,000 leaves a tenth of 40 checked images."""
    (tmp_path / "checked.csv").write_text("path,label\n" + "".join(f"training/{row}.jpg,cat\n" for row in range(40)))
    given = {"dataset": "animal10n", "clean_labels": tmp_path / "checked.csv", "noisy_val_size": 0}
    whole, tenth = resolve(RunConfig(**given)), resolve(RunConfig(**given, limit_train=5000))
    assert (whole.meta_size, whole.clean_val_size) == (32, 8)
    assert (tenth.meta_size, tenth.clean_val_size) == (4, 0)
    assert resolve(RunConfig(**tenth.model_dump())) == tenth
    assert resolve(RunConfig(**given, limit_train=5000, meta_size=3)).meta_size == 3  # what is given stays


def test_a_limit_keeps_the_share_of_checked_images(tmp_path):
    root = big_folder(tmp_path)
    checked = read_checked(checked_file(tmp_path, root, 40))
    for limit, kept in ((84, 20), (85, 21), (168, 40), (10, 3), (1, 1)):  # 40 · limit / 168, rounded up
        found = load(f"imagefolder:{root}", checked=checked, limit_train=limit)
        assert (len(found.train), int((found.truth >= 0).sum())) == (limit, kept)


def test_a_csv_counts_its_training_images_by_name(tmp_path):
    rows = [f"{row}.png,{'ab'[row % 2]},{'train' if row < 8 else 'test'}" for row in range(10)]
    assert own_train_size(csv(tmp_path, *rows, rows[0]), 3) == 8
    assert own_train_size(csv(tmp_path, *(row.rpartition(",")[0] for row in rows), header="path,label"), 5) == 9


def test_sizes_of_published_sets_are_looked_at_before_images(tmp_path, small_set, monkeypatch):
    root = trees.clothing1m(tmp_path / "clothing1M")
    no_decoding(monkeypatch)

    def refuse(dataset):
        raise UserError(f"{len(dataset.train)} are too few")

    card = registry.dataset_card(small_set("clothing1m", root))
    options = {"data_path": root, "checked": None, "fits": refuse}
    with pytest.raises(UserError, match="^140 are too few"):
        open_limited(card, limit_train=None, **options)
    with pytest.raises(UserError, match="^50 are too few"):
        open_limited(card, limit_train=50, **options)


PATHS = {
    "imagefolder:": "no path after the colon",
    "csv: ": "no path after the colon",
    "imagefolder:~nobody-of-this-name/x": "could not determine home directory",
    f"imagefolder:{'x' * 300}": "no such folder",
    f"csv:{'x' * 300}": "cannot be read|no such file",
    "imagefolder:a\0b": "no such folder",
    "csv:a\0b": "cannot be read",
}


@pytest.mark.parametrize("name", PATHS)
def test_paths_that_are_none_are_one_line(name):
    refused(name, PATHS[name])
