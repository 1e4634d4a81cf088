"""Label files: what is accepted, and what is refused in one line."""

from __future__ import annotations

import numpy as np
import pytest

from noisybench.cli.noise_report import largest_confusions, per_class_rates
from noisybench.core.errors import UserError
from noisybench.core.shares import limited_rows
from noisybench.noise import NoiseArtifact, NoiseRequest, make_noise
from noisybench.noise.human import read_labels
from noisybench.noise.label_files import import_table
from noisybench.spec import registry

N = 300


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).permutation(np.arange(N) % 10)


def request(labels, *, file=None, dataset="cifar10n", rate=0.0) -> NoiseRequest:
    card = registry.dataset_card(dataset)
    return NoiseRequest(labels=labels, num_classes=10, rate=rate, seed=0, card=card, file=file)


@pytest.fixture
def human_file(tmp_path, labels):
    """A stand-in for CIFAR-10N: set "worse" has the first 60 images one class up, "aggre" the first 15."""
    file = tmp_path / "labels.npz"
    worse, aggre = labels.copy(), labels.copy()
    worse[:60] = (worse[:60] + 1) % 10
    aggre[:15] = (aggre[:15] + 1) % 10
    np.savez(file, clean=labels.astype(np.int8), worse=worse.astype(np.int8), aggre=aggre.astype(np.int8))
    return file


def test_human_labels_are_given_as_published(labels, human_file):
    worse = make_noise("human-worse", request(labels, file=human_file))
    assert (worse.achieved_rate, worse.requested_rate) == (0.2, 0.2)
    assert (worse.noisy[:60] == (labels[:60] + 1) % 10).all()
    assert worse.classes[0] == "airplane"
    assert make_noise("human-aggregate", request(labels, file=human_file)).achieved_rate == 0.05


def test_upstreams_torch_file_is_read_without_running_pickles(tmp_path, labels):
    import torch

    file = tmp_path / "CIFAR-10_human.pt"
    torch.save({"clean_label": labels, "random_label2": (labels + 1) % 10, "worse_label": list(labels)}, file)
    assert (make_noise("human-random2", request(labels, file=file)).noisy == (labels + 1) % 10).all()
    torch.save({"clean_label": torch.from_numpy(labels), "random_label2": torch.from_numpy(labels)}, file)
    assert sorted(read_labels(file)) == ["clean_label", "random_label2"]


def test_a_torch_file_that_would_run_code_is_refused(tmp_path, labels):
    import torch

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "went-off"), "w"))

    file = tmp_path / "CIFAR-10_human.pt"
    torch.save({"clean_label": Bomb()}, file)
    with pytest.raises(UserError, match="not a file of human labels"):
        make_noise("human-worse", request(labels, file=file))
    assert not (tmp_path / "went-off").exists()


@pytest.mark.parametrize(
    "state", [(3, "<", None, None, None, 8, 8, 0x3F), (3, "|", None, ("f",), {"f": 0}, 8, 1, 0x1B)]
)
@pytest.mark.parametrize("scalar", [False, True])
def test_a_type_that_says_its_bytes_are_pointers_is_refused(tmp_path, state, scalar):
    import numpy._core.multiarray as multiarray
    import torch

    class Dtype:
        def __reduce__(self):
            return np.dtype, ("i8", False, True), state

    class Crafted:
        def __reduce__(self):
            if scalar:
                return multiarray.scalar, (Dtype(), b"A" * 8)
            return multiarray._reconstruct, (np.ndarray, (0,), b"b"), (1, (2,), Dtype(), False, b"A" * 16)

    file = tmp_path / "CIFAR-10_human.pt"
    torch.save({"clean_label": Crafted(), "worse_label": Crafted()}, file)
    with pytest.raises(UserError, match="not a file of human labels"):
        read_labels(file)


def test_a_set_that_the_file_does_not_hold_is_named(labels, human_file):
    with pytest.raises(UserError, match="no labels for 'human'.*it serves human-aggregate, human-worse"):
        make_noise("human", request(labels, file=human_file))


@pytest.mark.parametrize("kind", ["human-worse", "file", "feature-dependent"])
def test_a_reordered_copy_of_the_images_is_refused(tmp_path, labels, human_file, kind):
    if kind == "file":
        make_noise("human-worse", request(labels, file=human_file)).save(tmp_path / "noise.npz")
    np.savez(tmp_path / "student.npz", probabilities=np.full((N, 10), 0.1), clean=labels)
    file = {"human-worse": human_file, "file": tmp_path / "noise.npz"}.get(kind, tmp_path / "student.npz")
    make_noise(kind, request(labels, file=file, rate=0.1))
    swapped = labels.copy()
    last = np.flatnonzero(labels != labels[-1])[-1]
    swapped[[last, -1]] = labels[[-1, last]]  # the two last images that differ: a sample would miss them
    with pytest.raises(UserError) as raised:
        make_noise(kind, request(swapped, file=file, rate=0.1))
    message = str(raised.value)
    assert f"at 2 of {N} rows (first: row {last}," in message
    assert "another order" in message
    assert str(file) in message
    assert "\n" not in message


def test_other_images_are_refused_as_such(labels, human_file):
    with pytest.raises(UserError, match="not the same images"):
        make_noise("human-worse", request(labels % 5, file=human_file))
    with pytest.raises(UserError, match="made for 300 images; cifar10n has 301"):
        make_noise("human-worse", request(np.append(labels, 0), file=human_file))


def test_a_limited_dataset_takes_its_rows_of_the_file(labels, human_file):
    rows = limited_rows(labels, 50)
    whole = make_noise("human-worse", request(labels, file=human_file))
    part = make_noise("human-worse", request(labels[rows], file=human_file))
    assert np.array_equal(part.noisy, whole.noisy[rows])
    with pytest.raises(UserError, match="another order"):
        make_noise("human-worse", request(labels[rows][::-1], file=human_file))


def test_predictions_that_say_nothing_of_their_images_are_refused(tmp_path, labels):
    file = tmp_path / "student.npy"
    np.save(file, np.full((N, 10), 0.1))
    with pytest.raises(UserError, match="add an array 'clean'"):
        make_noise("feature-dependent", request(labels, file=file, rate=0.2))


def test_known_predictions_need_the_order_they_were_made_for(tmp_path, labels):
    from hashlib import sha256

    values = np.full((N, 10), 0.1, dtype=np.float32)
    file = tmp_path / "student.npz"
    np.savez(file, student_logits=values)
    known = {sha256(values.tobytes()).hexdigest(): sha256(labels.astype("<i8").tobytes()).hexdigest()}
    card = registry.dataset_card("cifar10").model_copy(update={"known_predictions": known})
    asked = NoiseRequest(labels=labels, num_classes=10, rate=0.2, seed=0, card=card, file=file)
    assert make_noise("feature-dependent", asked).achieved_rate == 0.2
    with pytest.raises(UserError, match="in another order"):
        make_noise("feature-dependent", NoiseRequest(**{**vars(asked), "labels": labels[::-1].copy()}))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"probabilities": np.full((N, 9), 1 / 9)}, "300×9"),
        ({"probabilities": np.full((N, 10), 1.0)}, "row 0 is no probability distribution"),
        ({"probabilities": np.full((N, 10), np.nan)}, "row 0 is no probability distribution"),
        ({"probabilities": np.ones((N, 10), dtype=int)}, "int64"),
        ({"logits": np.ones((N, 10))}, "no array 'probabilities'"),
        ({"probabilities": np.full((N, 10), 0.1), "clean": np.zeros(5, dtype=int)}, "300 predictions and 5 clean"),
    ],
)
def test_bad_predictions_are_refused_with_their_reason(tmp_path, labels, arrays, reason):
    file = tmp_path / "student.npz"
    np.savez(file, **arrays)
    with pytest.raises(UserError) as raised:
        make_noise("pmd-1", request(labels, file=file, rate=0.2))
    assert reason in str(raised.value)


def test_an_artifact_survives_the_disk(tmp_path, labels):
    made = make_noise("symmetric", request(labels, rate=0.3))
    made.save(tmp_path / "noise.npz")
    loaded = NoiseArtifact.load(tmp_path / "noise.npz")
    assert loaded.sha256 == made.sha256
    assert loaded.classes == made.classes
    used = make_noise("file", request(labels, file=tmp_path / "noise.npz"))
    assert used.sha256 == made.sha256


def test_an_edited_artifact_is_refused(tmp_path, labels):
    file = tmp_path / "noise.npz"
    make_noise("symmetric", request(labels, rate=0.3)).save(file)
    with np.load(file) as stored:
        arrays = dict(stored)
    arrays["noisy"][7] = (arrays["noisy"][7] + 1) % 10
    np.savez(file, **arrays)
    with pytest.raises(UserError, match="does not match its hash"):
        NoiseArtifact.load(file)


def test_a_damaged_artifact_is_refused(tmp_path, labels):
    file = tmp_path / "noise.npz"
    make_noise("symmetric", request(labels, rate=0.3)).save(file)
    content = file.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"no zip file at all", _overwritten(content)):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="not a noise artifact"):
            NoiseArtifact.load(file)


def _overwritten(content: bytes) -> bytes:
    """Garbage in the middle of the compressed data of the labels."""
    start = content.index(b"clean.npy") + 40
    return content[:start] + bytes(60) + content[start + 60 :]


def test_confusions_and_rates_by_hand(labels):
    noisy = labels.copy()
    trucks, cats = np.flatnonzero(labels == 9), np.flatnonzero(labels == 3)
    noisy[trucks[:12]] = 1
    noisy[cats[:9]] = 5
    made = NoiseArtifact("imported", "", 0.0, 0, 10, labels, noisy, tuple(registry.dataset_card("cifar10").classes))
    first, second = largest_confusions(made)
    assert (first.true, first.given, first.count, first.share) == ("truck", "automobile", 12, 0.4)
    assert (second.true, second.given, second.count) == ("cat", "dog", 9)
    assert per_class_rates(made)[[9, 3, 0]].tolist() == [0.4, 0.3, 0.0]


def write_table(file, labels, noisy, index=None, names=None):
    def cell(k):
        return str(k) if names is None else names[k]

    order = range(len(labels)) if index is None else index
    lines = ["index,noisy,clean", *(f"{i},{cell(noisy[i])},{cell(labels[i])}" for i in order)]
    file.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("named", [True, False])
def test_a_table_is_imported_in_any_row_order(tmp_path, labels, named):
    noisy = labels.copy()
    noisy[:30] = (noisy[:30] + 1) % 10
    names = registry.dataset_card("cifar10").classes if named else None
    write_table(tmp_path / "labels.csv", labels, noisy, np.random.default_rng(1).permutation(N), names)
    made = import_table(tmp_path / "labels.csv", request(labels), noisy_column="noisy", clean_column="clean")
    assert np.array_equal(made.noisy, noisy)
    assert made.achieved_rate == 0.1


def test_bad_tables_are_refused_with_their_reason(tmp_path, labels):
    file = tmp_path / "labels.csv"

    def refused(text=None, columns=("noisy", "clean")):
        if text is not None:
            file.write_text(text)
        with pytest.raises(UserError) as raised:
            import_table(file, request(labels), noisy_column=columns[0], clean_column=columns[1])
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "no such file" in refused()
    assert "not a readable CSV" in refused("")
    assert "no column 'clean'" in refused("index,noisy\n0,1\n")
    assert "row 1: 'tractor' is no class" in refused("noisy,clean\n1,1\ntractor,2\n")
    assert "'10' is no class" in refused("noisy,clean\n10,1\n")
    assert "1 is missing or named twice" in refused("index,noisy,clean\n0,1,1\n0,1,1\n")
    assert "made for 2 images" in refused("noisy,clean\n1,1\n2,2\n")
    write_table(file, labels[::-1], labels[::-1])
    assert "another order" in refused()
