"""Options that write a file: never over what the user has, never over what is no regular file."""

from __future__ import annotations

import os
import stat

import pytest
from PIL import Image

MINE = b"two years of work\n"


@pytest.fixture
def commands(cli, tmp_path, monkeypatch):
    """Each command with the option that names what it writes."""
    monkeypatch.chdir(tmp_path)
    card = tmp_path / "small.toml"
    card.write_text(
        'title="small"\ndatasets=["digits"]\nnoises=["symmetric"]\nnoise_rates=[0.4]\nmethods=["ce"]\nseeds=1\n'
    )
    noise = ("noise", "make", "--noise", "symmetric", "--limit-train", "100")
    table = tmp_path / "table.csv"
    assert cli(*noise, "--output", "given.npz")[0] == 0
    from noisybench.noise import NoiseArtifact

    labels = NoiseArtifact.load(tmp_path / "given.npz")
    rows = zip(labels.noisy, labels.clean, strict=True)
    table.write_text("noisy,clean\n" + "".join(f"{given},{true}\n" for given, true in rows))
    return {
        "heat.png": ("noise", "show", "given.npz", "--png"),
        "sheet.png": ("data", "info", "digits", "--output"),
        "suite.sh": ("bench", "plan", card, "--slurm"),
        "made.npz": (*noise, "--output"),
        "imported.npz": ("noise", "import", table, "--dataset", "digits", "--limit-train", "100", "--output"),
        "student.npz": ("noise", "student", "--limit-train", "100", "--epochs", "1", "--output"),
    }


NAMES = ["heat.png", "sheet.png", "suite.sh", "made.npz", "imported.npz", "student.npz"]


def refused(result, name: str, why: str) -> None:
    code, out, err = result
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert name in err and why in err


@pytest.mark.parametrize("name", NAMES)
def test_what_a_user_has_stays_and_force_writes_over_it(commands, cli, tmp_path, name):
    file = tmp_path / name
    file.write_bytes(MINE)
    refused(cli(*commands[name], file), name, "give a new name, or add --force")
    assert file.read_bytes() == MINE
    code, _, err = cli(*commands[name], file, "--force")
    assert (code, err) == (0, "") and file.read_bytes() != MINE


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("force", [(), ("--force",)])
def test_nothing_is_written_over_what_is_no_regular_file(commands, cli, tmp_path, name, force):
    mine, file = tmp_path / "mine", tmp_path / name
    mine.write_bytes(MINE)
    file.symlink_to(mine)
    refused(cli(*commands[name], file, *force), name, "a link")
    assert file.is_symlink() and mine.read_bytes() == MINE
    file.unlink()
    file.symlink_to(tmp_path / "none")
    refused(cli(*commands[name], file, *force), name, "a link")
    assert file.is_symlink() and not (tmp_path / "none").exists()
    file.unlink()
    os.mkfifo(file)
    refused(cli(*commands[name], file, *force), name, "no regular file")
    assert stat.S_ISFIFO(os.lstat(file).st_mode)
    file.unlink()
    file.mkdir()
    refused(cli(*commands[name], file, *force), name, "a folder")
    assert list(file.iterdir()) == []


@pytest.mark.parametrize("name", ["heat.png", "sheet.png", "suite.sh"])
def test_what_the_same_command_wrote_is_drawn_anew(commands, cli, tmp_path, name):
    for _ in range(2):
        assert cli(*commands[name], tmp_path / name)[0] == 0
    other = {"heat.png": "sheet.png", "sheet.png": "heat.png", "suite.sh": "heat.png"}[name]
    before = (tmp_path / name).read_bytes()
    refused(cli(*commands[other], tmp_path / name), name, "was not written by this command")
    assert (tmp_path / name).read_bytes() == before


def test_a_file_of_labels_is_never_replaced_unasked(commands, cli, tmp_path):
    """Runs name it by its hash."""
    assert cli(*commands["made.npz"], tmp_path / "made.npz")[0] == 0
    refused(cli(*commands["made.npz"], tmp_path / "made.npz"), "made.npz", "exists; give a new name")


def test_a_picture_of_the_users_stays_where_the_default_name_falls(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (3, 3)).save("digits-sheet.png")
    before = (tmp_path / "digits-sheet.png").read_bytes()
    refused(cli("data", "info", "digits"), "digits-sheet.png", "was not written by this command")
    assert (tmp_path / "digits-sheet.png").read_bytes() == before


def test_maps_of_estimates_leave_a_users_picture(cli, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli("run", "--limit-train", "100", "--epochs", "1", "--model", "noisybench_mlp", "--output", "run")[0] == 0
    (tmp_path / "maps").mkdir()
    (tmp_path / "maps" / "true.png").write_bytes(MINE)
    refused(cli("noise", "estimate", "run", "--png", "maps"), "true.png", "was not written by this command")
    assert [file.name for file in (tmp_path / "maps").iterdir()] == ["true.png"]
    for force in (["--force"], []):
        assert cli("noise", "estimate", "run", "--png", "maps", *force)[0] == 0


def test_a_new_methods_folder_replaces_no_link_and_leaves_nothing_beside_it(cli, tmp_path):
    (tmp_path / "new").symlink_to(tmp_path / "none")
    refused(cli("new-method", "my-loss", "--output", tmp_path / "new"), "new", "exists already")
    os.mkfifo(tmp_path / "pipe")
    refused(cli("new-method", "my-loss", "--output", tmp_path / "pipe"), "pipe", "exists already")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "pipe"]
