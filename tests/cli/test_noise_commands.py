"""``noisybench noise`` and ``--noise KIND:FILE`` from the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest

from noisybench.noise import NoiseArtifact
from noisybench.spec.config import RunConfig
from noisybench.spec.layers import resolve

SMALL = ("--limit-train", 400)


@pytest.fixture
def made(cli, tmp_path):
    """A noise file over 400 digits."""
    file = tmp_path / "noise.npz"
    code, out, err = cli(
        "noise", "make", "--noise", "pair-flip", "--noise-rate", "0.25", "--seed", "3", *SMALL, "--output", file
    )
    assert (code, err) == (0, "")
    assert "achieved 0.25" in out
    return file


def refused(result) -> str:
    """The error line of a command that was refused."""
    code, _, err = result
    assert code == 2
    assert err.count("\n") == 1
    assert err.startswith("noisybench: ")
    return err


def test_help_of_every_command(cli):
    for command in ("make", "show", "import", "student", "estimate"):
        code, out, _ = cli("noise", command, "--help")
        assert code == 0
        assert command in out


def test_help_needs_no_torch():
    import subprocess
    import sys

    script = (
        "import sys; from noisybench.cli.main import main\n"
        "sys.argv = ['noisybench', 'noise', 'make', '--help']\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True).returncode == 0


def test_make_gives_the_noise_of_a_run_with_the_same_options(made):
    from noisybench.train.prepare import prepare

    data = prepare(resolve(RunConfig(method="mslg", noise="pair-flip", noise_rate=0.25, seed=3, limit_train=400)))
    assert data.noise.sha256 == NoiseArtifact.load(made).sha256


def test_show_prints_rates_matrix_and_confusions_and_draws(cli, made, tmp_path):
    from PIL import Image

    code, out, _ = cli("noise", "show", made, "--png", tmp_path / "heat.png")
    assert code == 0
    artifact = NoiseArtifact.load(made)
    assert artifact.sha256 in out
    assert "largest confusions" in out
    with Image.open(tmp_path / "heat.png") as picture:
        width, height = picture.size
        # Pair-flip: the cell right of the diagonal is coloured, the one left of it is white.
        cells = picture.crop((width - 12 - 480, height - 12 - 480, width - 12, height - 12)).convert("RGB")
        assert cells.getpixel((4 + 48 * 3, 4 + 48 * 2)) != (255, 255, 255)
        assert cells.getpixel((4 + 48 * 1, 4 + 48 * 2)) == (255, 255, 255)


def test_a_run_uses_the_file_and_records_its_hash(cli, made, tmp_path):
    folder = tmp_path / "run"
    options = ("--model", "noisybench_mlp", "--epochs", 2, *SMALL, "--output", folder)
    code, out, err = cli("run", "--noise", f"file:{made}", *options)
    assert (code, err) == (0, "")
    assert "pair-flip noise 0.25" in out
    record = json.loads((folder / "result.json").read_text())
    assert record["fingerprints"]["noise"] == NoiseArtifact.load(made).sha256
    assert record["noise"]["kind"] == "pair-flip"
    assert record["noise"]["requested_rate"] == 0.25
    assert record["config"]["noise"] == "file"

    # The estimate needs the run's folder only: the file it was made from may be gone.
    made.unlink()
    from noisybench.train.evaluate import accuracies
    from noisybench.train.finished import load_run

    finished = load_run(folder)
    assert finished.data.noise.sha256 == record["fingerprints"]["noise"]
    world = finished.method.context.world
    reloaded = accuracies(finished.method, finished.streams.test, world)
    assert reloaded["network"] == record["metrics"]["test_accuracy_last"]

    code, out, _ = cli("noise", "estimate", folder, "--png", tmp_path / "maps")
    assert code == 0
    assert "anchor points: mean absolute error 0." in out
    assert "confident joint: mean absolute error 0." in out
    maps = sorted(file.name for file in (tmp_path / "maps").iterdir())
    assert maps == ["anchor-points.png", "confident-joint.png", "true.png"]


def test_a_student_feeds_feature_dependent_noise(cli, tmp_path):
    student, noise = tmp_path / "student.npz", tmp_path / "noise.npz"
    small = ("--model", "noisybench_mlp", "--epochs", 1, *SMALL)
    assert cli("noise", "student", *small, "--output", student)[0] == 0
    options = ("--noise", f"feature-dependent:{student}", "--noise-rate", "0.3", *SMALL)
    assert cli("noise", "make", *options, "--output", noise)[0] == 0
    artifact = NoiseArtifact.load(noise)
    assert int((artifact.noisy != artifact.clean).sum()) == 120


def test_import_a_table(cli, made, tmp_path):
    clean = NoiseArtifact.load(made).clean
    table, output = tmp_path / "labels.csv", tmp_path / "imported.npz"
    rows = [f"{(label + (i < 100)) % 10},{label}" for i, label in enumerate(clean)]
    table.write_text("\n".join(["label_noisy,label", *rows]) + "\n")
    columns = ("--noisy-column", "label_noisy", "--clean-column", "label")
    code, out, _ = cli("noise", "import", table, "--dataset", "digits", *SMALL, *columns, "--output", output)
    assert code == 0
    assert "(100 wrong labels)" in out
    assert NoiseArtifact.load(output).achieved_rate == 0.25


def test_errors_are_one_line_and_leave_nothing(cli, made, tmp_path):
    output = tmp_path / "new.npz"

    def make(*options):
        return refused(cli("noise", "make", *SMALL, "--output", output, *options))

    assert "did you mean symmetric" in make("--noise", "symetric")
    assert "gone.npz: no such file" in make("--noise", f"file:{tmp_path / 'gone.npz'}")
    assert "reads a file: give --noise human-worse:FILE" in make("--noise", "human-worse")
    assert "reads no file" in make("--noise", f"symmetric:{made}")
    assert "no file after the colon" in make("--noise", "file:")
    assert "its rate is that of its file" in make("--noise", f"file:{made}", "--noise-rate", "0.2")
    assert "not a file of human labels" in make("--noise", f"human-worse:{__file__}")
    assert "no labels for 'clean'" in make("--noise", f"human-worse:{_npz(tmp_path)}")
    assert "made for 400 images" in refused(cli("noise", "make", "--noise", f"file:{made}", "--output", output))
    assert not output.exists()
    assert "exists; give a new name" in refused(cli("noise", "make", "--noise", "none", "--output", made))
    assert "ends in .npz" in refused(cli("noise", "make", "--noise", "none", "--output", tmp_path / "a.csv"))
    assert "no folder" in refused(cli("noise", "make", "--noise", "none", "--output", tmp_path / "b" / "a.npz"))
    assert "no such file" in refused(cli("noise", "show", tmp_path / "gone.npz"))
    assert "not a noise artifact" in refused(cli("noise", "show", __file__))
    assert "cannot be written" in refused(cli("noise", "show", made, "--png", tmp_path / "b" / "heat.png"))
    assert "holds no run" in refused(cli("noise", "estimate", tmp_path))


def _npz(folder):
    np.savez(folder / "other.npz", something=np.arange(3))
    return folder / "other.npz"


def test_a_runs_identity_is_the_files_content_not_its_place(made, tmp_path):
    copy = tmp_path / "copy.npz"
    copy.write_bytes(made.read_bytes())
    first, second = (resolve(RunConfig(noise=f"file:{file}")) for file in (made, copy))
    assert first.run_id == second.run_id
    assert first.run_id != resolve(RunConfig(noise="none")).run_id
    assert first == resolve(RunConfig(**first.model_dump()))


def test_cifar10n_is_cifar10_with_human_labels(cli, tmp_path):
    from noisybench.spec import registry

    base, card = registry.dataset_card("cifar10"), registry.dataset_card("cifar10n")
    assert (card.name, card.hub, card.classes, card.orders) == ("cifar10n", base.hub, base.classes, base.orders)
    assert "reads a file: give --noise human-worse:FILE" in refused(cli("run", "--dataset", "cifar10n"))
    same = {"method": "mslg", "noise": "symmetric", "protocol": "authors"}
    ours, theirs = resolve(RunConfig(dataset="cifar10n", **same)), resolve(RunConfig(dataset="cifar10", **same))
    assert ours.model_dump(exclude={"dataset"}) == theirs.model_dump(exclude={"dataset"})


def test_cifar100n_is_cifar100_with_human_labels(cli):
    from noisybench.spec import registry

    base, card = registry.dataset_card("cifar100"), registry.dataset_card("cifar100n")
    assert (card.name, card.defaults["noise"]) == ("cifar100n", "human")
    assert len(card.classes) == 100 and len(set(card.superclass.values())) == 20
    inherited = ("source", "hub", "classes", "superclass", "orders", "splits", "mean", "std")
    assert all(getattr(card, name) == getattr(base, name) for name in inherited)
    assert "CC BY-NC 4.0" in card.licence and card.homepage.endswith("UCSC-REAL/cifar-10-100n")
    assert "reads a file: give --noise human:FILE" in refused(cli("run", "--dataset", "cifar100n"))
    ours = resolve(RunConfig(dataset="cifar100n", noise="symmetric", noise_rate=0.2))
    theirs = resolve(RunConfig(dataset="cifar100", noise="symmetric", noise_rate=0.2))
    assert ours.model_dump(exclude={"dataset"}) == theirs.model_dump(exclude={"dataset"})


def test_noise_is_made_from_clean_labels_only(cli, tmp_path):
    output = tmp_path / "out.npz"
    result = cli("noise", "student", "--dataset", "clothing1m", "--data-path", tmp_path, "--output", output)
    assert "clothing1m: its labels are noisy as they are" in refused(result)
    result = cli("noise", "import", tmp_path / "t.csv", "--dataset", "animal10n", "--output", output)
    assert "animal10n: its labels are noisy as they are" in refused(result)


def test_the_rate_of_labels_as_shipped_is_what_the_card_expects():
    shipped = resolve(RunConfig(dataset="food101n"))
    assert shipped.noise == "none" and shipped.noise_rate == 0.2
    assert resolve(RunConfig(dataset="food101n", noise_rate=0.3)).noise_rate == 0.3  # a user's own estimate
    assert resolve(RunConfig(dataset="cifar100", noise="none")).noise_rate == 0.0


def test_limit_train_shrinks_held_out_parts_where_the_card_knows_the_size():
    limited = resolve(RunConfig(dataset="clothing1m", limit_train=100_000))
    whole = resolve(RunConfig(dataset="clothing1m"))
    assert limited.meta_size == round(whole.meta_size / 10)
    own = resolve(RunConfig(dataset="food101n", limit_train=1000))  # how many images there are depends on the files
    assert own.meta_size == resolve(RunConfig(dataset="food101n")).meta_size


def test_human_labels_joined_to_a_reordered_copy_are_refused(cli, cifar_like, tmp_path, small_set):
    """The stand-in's image k has label k mod 10; human labels for that order are taken, for any other refused."""
    clean = np.arange(300) % 10
    worse = np.where(np.arange(300) < 60, (clean + 1) % 10, clean)
    fits, other = tmp_path / "fits.npz", tmp_path / "other.npz"
    np.savez(fits, clean=clean, worse=worse)
    np.savez(other, clean=clean[::-1], worse=worse[::-1])
    options = ("noise", "make", "--dataset", small_set("cifar10n"), "--data-path", cifar_like)
    code, out, _ = cli(*options, "--noise", f"human-worse:{fits}", "--output", tmp_path / "fits-noise.npz")
    assert code == 0
    assert "achieved 0.2000 (60 wrong labels)" in out
    result = cli(*options, "--noise", f"human-worse:{other}", "--output", tmp_path / "other-noise.npz")
    assert "the images are in another order" in refused(result)
    assert not (tmp_path / "other-noise.npz").exists()
