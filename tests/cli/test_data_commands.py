"""Real data through the command line: training, verifying, and what is refused before training starts."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import numpy as np
import pyarrow.parquet
import pytest
import trees
from odd_images import bomb
from PIL import Image

from noisybench.data.pixels import StreamedPixels

SMALL = ("--image-size", "16", "--model", "noisybench_mlp", "--set", "pretrained=false", "--batch-size", "16")


def run(cli, tmp_path, *arguments):
    code, out, err = cli("run", *arguments, *SMALL, "--output", tmp_path / "run")
    record = json.loads((tmp_path / "run" / "result.json").read_text()) if code == 0 else None
    return code, out, err, record


@pytest.mark.slow
def test_mslg_ranks_the_planted_errors_of_a_photo_folder(cli, tmp_path):
    root, checked, planted = trees.photos(tmp_path / "photos", per_class=100, checked=20, wrong=0.3)
    arguments = ("--method", "mslg", "--dataset", f"imagefolder:{root}", "--clean-labels", checked)
    settings = ("optimizer.lr=0.02", "augment.crop_padding=2", "method.kappa=4.0", "method.warmup_epochs=3")
    options = [word for setting in (*settings, "method.inner_lr=0.1") for word in ("--set", setting)]
    sizes = ("--epochs", "25", "--batch-size", "32", "--model", "noisybench_cnn4", "--image-size", "16")
    code, out, err = cli("run", *arguments, *options, *sizes, "--output", tmp_path / "run")
    assert code == 0, err
    assert "labels as shipped (true noise rate unknown)" in out and "images are resident" in out
    assert "64 clean meta, 0 noisy and 16 clean validation" in out  # 80 checked, a fifth for validation

    record = json.loads((tmp_path / "run" / "result.json").read_text())
    table = pyarrow.parquet.read_table(tmp_path / "run" / "labels.parquet")
    files = table["file"].to_pylist()
    found = planted & set(files)  # the others are in the test part
    precision = len(found & set(files[: len(found)])) / len(found)
    share = len(found) / len(files)
    print(f"precision among the top {len(found)} of {len(files)}: {precision:.3f}; by chance {share:.3f}")
    assert len(found) > 50 and precision > 0.75

    # what nobody knows is null, not made up
    assert record["noise"]["achieved_rate"] is None and record["noise"]["achieved_rate_train_set"] is None
    for name in ("label_accuracy_given", "label_accuracy_estimated", "noise_detection_auroc"):
        assert record["metrics"][name] is None
    assert "memorised" not in record["curves"] and "train_accuracy_true" not in record["curves"]
    assert record["information_used"]["clean_labels"] == 64
    assert record["config"]["clean_labels_sha256"]


@pytest.mark.parametrize("budget", ["0", "4096"])
def test_clothing1m_trains_and_names_its_way(cli, tmp_path, budget, small_set):
    root = trees.clothing1m(tmp_path / "clothing1M")
    sizes = ("--meta-size", "28", "--set", "clean_val_size=14", "--set", "noisy_val_size=14")
    name = small_set("clothing1m", root)
    arguments = ("--method", "mslg", "--dataset", name, "--data-path", root, *sizes)
    options = ("--epochs", "2", "--memory-budget", budget, "--workers", "2")
    code, out, err, record = run(cli, tmp_path, *arguments, *options)
    assert code == 0, err
    way = "streamed by up to 2 workers" if budget == "0" else "resident"
    assert f"images are {way} (0 MiB decoded, memory budget {budget} MiB)" in out
    assert "126 noisy train, 28 clean meta, 14 noisy and 14 clean validation, 28 test images" in out
    assert record["noise"]["expected_rate"] == 0.4 and record["noise"]["achieved_rate"] is None
    # the run is the same either way
    assert record["fingerprints"]["weights"] == WEIGHTS.setdefault("clothing1m", record["fingerprints"]["weights"])
    assert record["run_id"] == WEIGHTS.setdefault("run_id", record["run_id"])


WEIGHTS: dict[str, str] = {}


REFUSED = {
    "labels are noisy as they are": ("--noise", "symmetric", "--noise-rate", "0.2"),
    "leave it out": ("--dataset", "csv:{root}/list.csv"),
    "no such folder": ("--data-path", "{root}/nowhere"),
    "meta_size 29 + clean_val_size 0, and true labels are known of 28 images: make meta_size at most 28": (
        "--meta-size",
        "29",
    ),
    "give --meta-size, or --clean-labels": ("--meta-size", "0", "--method", "mslg"),
}


@pytest.mark.parametrize(
    ("method", "sizes", "said"),
    [
        ("mslg", ("--meta-size", "0"), "needs a clean meta set, and meta_size is 0: give --meta-size"),
        (
            "mslg",
            ("--limit-train", "30", "--meta-size", "0"),
            "needs a clean meta set, and meta_size is 0 at --limit-train 30: give --meta-size",
        ),
        ("ce", ("--meta-size", "400"), "meta_size 400"),
        (
            "ce",
            ("--limit-train", "40", "--meta-size", "5", "--set", "noisy_val_size=50"),
            "--limit-train 40 leaves too few images",
        ),
    ],
)
def test_what_cannot_fit_is_found_before_any_image_is_decoded(
    cli, tmp_path, monkeypatch, small_cifar10, cifar_like, method, sizes, said
):
    def fetch(self, rows):
        raise AssertionError("an image was decoded")

    for way in ("fetch", "load", "broken"):
        monkeypatch.setattr(StreamedPixels, way, fetch)
    small = ("--set", "noisy_val_size=10", "--set", "clean_val_size=10", "--noise-rate", "0.2", "--method", method)
    arguments = ("--dataset", small_cifar10, "--data-path", cifar_like, *small, *sizes)
    code, out, err = cli("run", *arguments, "--output", tmp_path / "run")
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1, err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("message", REFUSED)
def test_refused_before_anything_is_written(cli, tmp_path, message, small_set):
    root = trees.clothing1m(tmp_path / "clothing1M", noisy=28, clean_val=28, clean_test=14, clean_train=0)
    (root / "list.csv").write_text("path,label\na.jpg,a\nb.jpg,b\n")
    sizes = ("--meta-size", "20", "--set", "clean_val_size=0", "--set", "noisy_val_size=0")
    extra = [word.format(root=root) for word in REFUSED[message]]
    name = small_set("clothing1m", root, train=28, clean=28, test=14)
    code, _, err, _ = run(cli, tmp_path, "--dataset", name, "--data-path", root, *sizes, *extra)
    assert code == 2 and message in err and err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_verify_lists_everything_that_is_wrong(cli, tmp_path, small_set):
    root = trees.clothing1m(tmp_path / "clothing1M")
    name = small_set("clothing1m", root)
    code, out, _ = cli("data", "verify", name, "--data-path", root)
    assert code == 0 and "all there, all images decode" in out
    assert "train: 140 images" in out
    (root / "images/3/noisy_train_3.jpg").write_bytes(b"")
    (root / "images/4/clean_test_4.jpg").unlink()
    code, out, _ = cli("data", "verify", name, "--data-path", root)
    assert code == 2
    assert "problem: 1 of 28 test images are missing, the first images/4/clean_test_4.jpg" in out
    assert "problem: 1 of 140 train images do not decode:" in out
    assert "images/3/noisy_train_3.jpg cannot be decoded" in out
    (root / "noisy_label_kv.txt").unlink()
    code, out, _ = cli("data", "verify", name, "--data-path", root)
    assert code == 2 and "noisy_label_kv.txt is missing" in out and "where to get it" in out


@pytest.mark.slow
def test_what_pillow_warns_of_is_said_once_and_by_us(tmp_path):
    """In a process of its own: pytest sets the filters of warnings aside."""
    for row in range(12):
        trees.photo(tmp_path / "photos" / "ab"[row % 2] / f"{row}.png", row % 2, row)
    damaged = io.BytesIO()
    Image.new("L", (8, 8), 77).save(damaged, "JPEG", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    (tmp_path / "photos" / "a" / "exif.jpg").write_bytes(damaged.getvalue())
    command = [sys.executable, "-m", "noisybench", "data", "verify", f"imagefolder:{tmp_path / 'photos'}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "") and "all images decode" in done.stdout
    (tmp_path / "photos" / "b" / "bomb.png").write_bytes(bomb(11500, 11500, rows=1))
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "")
    assert "b/bomb.png is 11500×11500 pixels, more than 67,108,864, the most that are decoded" in done.stdout


def test_info_counts_classes_and_writes_a_sheet(cli, tmp_path, small_set):
    root = trees.animal10n(tmp_path / "animals")
    sheet = tmp_path / "sheet.png"
    code, out, err = cli("data", "info", small_set("animal10n", root), "--data-path", root, "--output", sheet)
    assert code == 0, err
    row = next(line for line in out.splitlines() if "guinea pig" in line)
    assert [cell.strip() for cell in row.split("│")[1:5]] == ["9", "guinea pig", "4", "2"]
    assert "true labels known of 0 of 40 train images" in out
    with Image.open(sheet) as picture:
        pixels = np.asarray(picture)
    assert pixels.shape[0] == 10 * (64 + 2) + 2
    assert (pixels[2:66, 170 + 2 : 170 + 66] != 0).mean() > 0.9  # the first thumbnail is a picture
    assert (pixels[2:66, -66:-2] == 0).all()  # four images of a class leave the last place empty


PARQUET = {
    "nowhere": "no such folder",
    "corrupt": "not a readable Parquet file",
    "columns": "no column 'img'; found image, label",
    "empty": "no dataset can be read from it",
}


@pytest.mark.parametrize("what", PARQUET)
def test_a_wrong_data_path_is_named(cli, tmp_path, what):
    import pyarrow as pa

    folder = tmp_path / "data"
    if what != "nowhere":
        folder.mkdir()
    if what == "corrupt":
        (folder / "train-00000-of-00001.parquet").write_bytes(b"PAR1 not really")
    if what == "columns":
        table = pa.table({"image": [b"x"], "label": [0]})
        for split in ("train", "test"):
            pyarrow.parquet.write_table(table, folder / f"{split}-00000-of-00001.parquet")
    code, _, err, _ = run(cli, tmp_path, "--dataset", "cifar10", "--data-path", folder, "--epochs", "1")
    assert code == 2 and PARQUET[what] in err and str(folder) in err
    assert err.strip().count("\n") == 0 and not (tmp_path / "run").exists()


def test_estimates_from_a_run_on_labels_as_shipped_name_no_truth(cli, tmp_path, small_set):
    root = trees.animal10n(tmp_path / "animals")
    sizes = ("--set", "meta_size=0", "--set", "clean_val_size=0", "--set", "noisy_val_size=0", "--epochs", "1")
    name = small_set("animal10n", root)
    code, _, err, record = run(cli, tmp_path, "--dataset", name, "--data-path", root, *sizes)
    assert code == 0, err
    assert record["noise"]["kind"] == "none" and record["noise"]["achieved_rate"] is None
    code, out, err = cli("noise", "show", tmp_path / "run" / "noise.npz")
    assert code == 0 and "no noise was added; which of the labels were wrong before is not known here" in out
    assert "wrong labels" not in out and "transition matrix" not in out
    code, out, err = cli("noise", "estimate", tmp_path / "run")
    assert code == 0, err
    assert "anchor points: the true matrix is not known" in out and "mean absolute error" not in out


def test_estimates_on_own_images_use_the_checked_labels(cli, tmp_path):
    """A network that has learned its labels by heart: what it predicts shows no noise where 40 % are wrong."""
    root, checked, _ = trees.photos(tmp_path / "photos", per_class=60, wrong=0.4, checked=30)
    rows = [line.split(",") for line in checked.read_text().split()[1:]]
    wrong = sum(path.split("/")[0] != label for path, label in rows)
    assert len(rows) == 120 and 35 < wrong < 61
    sizes = ("--epochs", "40", "--set", "optimizer.lr=0.05", "--set", "augment.horizontal_flip=false")
    code, _, err, _ = run(cli, tmp_path, "--dataset", f"imagefolder:{root}", "--clean-labels", checked, *sizes)
    assert code == 0, err
    code, out, err = cli("noise", "estimate", tmp_path / "run", "--png", tmp_path / "maps")
    assert code == 0, err
    assert f"checked labels: noise rate {100 * wrong / 120:.1f} % ({wrong} of 120 checked images carry another" in out
    table = out[out.index("checked labels (row: true class") :].splitlines()
    row = next(line for line in table if "class2" in line and "│" in line and "class1" not in line)
    given = [path.split("/")[0] for path, label in rows if label == "class2"]
    expected = [f"{given.count(f'class{number}') / len(given):.3f}" for number in range(4)]
    assert [cell.strip() for cell in row.split("│")[2:6]] == expected
    assert "confident joint: noise rate " in out and "which the checked labels contradict: rely on those" in out
    assert (tmp_path / "maps" / "checked-labels.png").is_file()


def test_pixels_that_are_streamed_give_the_same_noise(cifar_like, small_cifar10):
    from noisybench.spec.config import RunConfig
    from noisybench.spec.layers import resolve
    from noisybench.train.prepare import draw_noise, official_parts

    asked = {"dataset": small_cifar10, "data_path": cifar_like, "noise": "instance-dependent", "noise_rate": 0.3}
    made = []
    for budget in (0, 4096):
        config = resolve(RunConfig(memory_budget=budget, **asked))
        dataset = official_parts(config)
        assert dataset.resident == (budget > 0)
        made.append(draw_noise(config, dataset).sha256)
    assert made[0] == made[1]
