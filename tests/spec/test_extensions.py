"""Extensions and cards of other packages: found, loaded, and each broken one disabled alone and named."""

from __future__ import annotations

import pytest

from noisybench.core.errors import UserError
from noisybench.spec import registry

METHODS, CARDS = "noisybench.methods", "noisybench.cards"
GOOD = """
    from noisybench.methods.ce import CrossEntropy

    class Good(CrossEntropy):
        pass
"""
BROKEN = {  # module -> its text, and the reason
    "no_import": ("import no_such_thing", "cannot be imported from no_import:Good: ModuleNotFoundError"),
    "no_class": ("x = 1", "cannot be imported from no_class:Good: AttributeError"),
    "raises": ("raise RuntimeError('two\\nlines')", "cannot be imported from raises:Good: RuntimeError: two lines"),
    "leaves": ("import sys\nsys.exit(3)", "cannot be imported from leaves:Good: SystemExit: 3"),
    "no_syntax": ("class Good(:", "cannot be imported from no_syntax:Good: SyntaxError"),
    "no_method": ("Good = dict", "is no_method:Good, which is not a subclass of noisybench.methods.Method"),
    "no_type": ("Good = 3", "is no_type:Good, which is not a subclass of noisybench.methods.Method"),
}


def not_usable(out: str) -> list[str]:
    return [line for line in out.splitlines() if line.startswith("not usable: ")]


@pytest.mark.parametrize("module", BROKEN)
def test_a_broken_method_is_named_and_the_others_work(cli, plugin, module):
    text, reason = BROKEN[module]
    points = {"bad": f"{module}:Good", "good": "sound_one:Good"}
    plugin("strange", {METHODS: points}, {f"{module}.py": text, "sound_one.py": GOOD})
    code, out, err = cli("methods")
    assert code == 0 and err == ""
    assert "cross-entropy" in out.lower() and "good" in out
    (line,) = not_usable(out)
    assert line.startswith("not usable: bad of strange: ") and reason in line
    code, _, err = cli("run", "--method", "bad", "--dry-run")
    assert code == 2 and err.count("\n") == 1 and f"method 'bad' {reason}" in err
    assert cli("run", "--method", "good", "--dry-run")[0] == 0
    assert cli("run", "--method", "ce", "--dry-run")[0] == 0


def test_names_are_listed_without_an_import(plugin):
    plugin("strange", {METHODS: {"bad": "raises:Good"}}, {"raises.py": "raise RuntimeError"})
    assert {"bad", "ce"} <= set(registry.names("method"))


def test_a_name_of_noisybench_stays_its_own(cli, plugin):
    plugin("strange", {METHODS: {"ce": "sound_one:Good"}}, {"sound_one.py": GOOD})
    assert registry.load("method", "ce").__module__ == "noisybench.methods.ce"
    code, out, _ = cli("methods")
    assert code == 0 and "│ ce " in out
    assert not_usable(out) == [
        "not usable: ce of strange: noisybench has a method 'ce' of its own: rename this one, or uninstall its package"
    ]


@pytest.fixture
def two_packages(plugin):
    """Two that both register a method ``mixer``."""
    plugin("noisy-left", {METHODS: {"mixer": "noisy_left:Good"}}, {"noisy_left.py": GOOD})
    plugin("noisy-right", {METHODS: {"mixer": "noisy_right:Good"}}, {"noisy_right.py": GOOD})
    return plugin


def test_two_packages_of_one_name_disable_each_other_alone(cli, two_packages):
    code, out, _ = cli("methods")
    assert code == 0 and "│ ce " in out and "│ mixer" not in out
    both = "noisy_left:Good of noisy-left and noisy_right:Good of noisy-right"
    reason = f"two methods are registered under the name 'mixer': {both}; rename one of them or uninstall its package"
    assert not_usable(out) == [f"not usable: mixer of noisy-{side}: {reason}" for side in ("left", "right")]
    code, _, err = cli("run", "--method", "mixer", "--dry-run")
    assert (code, err) == (2, f"noisybench: {reason}\n")
    assert cli("run", "--method", "ce", "--dry-run")[0] == 0


def test_the_check_of_all_methods_fails_for_those_of_one_name(monkeypatch, two_packages):
    from noisybench.conformance.kit import check_all

    monkeypatch.setattr(registry, "method_names", list)
    found = [(report.method, report.passed) for report in check_all()]
    assert found == [("mixer of noisy-left", False), ("mixer of noisy-right", False)]


def test_the_same_class_registered_twice_is_the_same_method(plugin, two_packages):
    """An editable install beside a wheel of the same package is one method."""
    plugin("noisy-right", {METHODS: {"mixer": "noisy_left:Good"}})
    assert registry.load("method", "mixer").__module__ == "noisy_left"
    assert registry.broken("method") == []


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("two words", "cannot be used: it holds ' ' (SPACE); a name is made of"),
        ("päper", "cannot be used: it holds '\\xe4' (LATIN SMALL LETTER A WITH DIAERESIS); a name is made of"),
        ("-dash", "cannot be used: it begins or ends with '-'; a name is made of"),
        ("a/b", "cannot be used: it holds '/' or ':'"),
        ("a:b", "cannot be used: it holds '/' or ':'"),
    ],
)
def test_a_name_that_is_none_is_refused(cli, plugin, name, fault):
    plugin("strange", f"[{METHODS}]\n{name} = sound_one:Good\n".encode().decode(), {"sound_one.py": GOOD})
    code, out, _ = cli("methods")
    (line,) = not_usable(out)
    assert code == 0 and line.startswith(f"not usable: {name} of strange: the name ") and fault in line


@pytest.mark.parametrize("text", ["[noisybench.methods]\nno value here\n", "no section = x:Y\n"])
def test_a_damaged_list_of_entry_points_is_named(cli, plugin, text):
    plugin("strange", text)
    plugin("sound", {METHODS: {"good": "sound_one:Good"}}, {"sound_one.py": GOOD})
    code, out, _ = cli("methods")
    assert code == 0 and "│ ce " in out and "│ good " in out
    assert all("strange: its list of entry points cannot be read" in line for line in not_usable(out))


def test_entry_points_that_are_no_utf8_are_named(cli, plugin):
    site = plugin("strange", {})
    (site / "strange-1.0.dist-info" / "entry_points.txt").write_bytes(b"[noisybench.methods]\n\xff = x:Y\n")
    code, out, _ = cli("methods")
    assert code == 0 and "│ ce " in out
    (line,) = not_usable(out)
    assert "of strange: its list of entry points cannot be read: UnicodeDecodeError" in line


def test_a_package_without_metadata_or_with_odd_docstrings_works(cli, plugin):
    text = """
        def odd(base, schedule, epoch, epochs):
            return base

        odd.__doc__ = 3
    """
    site = plugin("strange", {"noisybench.schedules": {"odd": "odd_one:odd"}}, {"odd_one.py": text})
    (site / "strange-1.0.dist-info" / "METADATA").unlink()
    registry.forget()
    code, out, _ = cli("schedules")
    assert code == 0 and "│ odd " in out and "not usable" not in out
    assert cli("schedules", "show", "odd")[:2] == (0, "name: odd\n")


BAD_CARDS = {  # content of the card, and the reason
    "unknown key": (b'title = "B"\nsumary = "typo"\n', "sumary: Extra inputs are not permitted"),
    "no toml": (b"title = \n", "is not valid TOML"),
    "no utf-8": (b'title = "\xff"\n', "is not valid TOML"),
    "another name": (b'title = "B"\nname = "other"\n', "name: 'other' is not the file's name"),
    "nested": (b'title = "B"\nquirks = ' + b"[" * 5000 + b"]" * 5000, "is not valid TOML"),
}


@pytest.mark.parametrize("what", BAD_CARDS)
def test_a_bad_method_card_disables_its_method_alone(cli, plugin, what):
    content, reason = BAD_CARDS[what]
    points = {METHODS: {"bad": "sound_one:Good", "good": "sound_one:Good"}, CARDS: {"x": "strange_cards"}}
    files = {"sound_one.py": GOOD, "strange_cards/__init__.py": "", "strange_cards/methods/bad.toml": content}
    plugin("strange", points, files)
    code, out, _ = cli("methods")
    assert code == 0 and "│ ce " in out and "│ good " in out and "│ bad " not in out
    (line,) = not_usable(out)
    assert line.startswith("not usable: bad of strange: card ") and reason in line
    code, _, err = cli("run", "--method", "bad", "--dry-run")
    assert code == 2 and err.count("\n") == 1 and reason in err
    assert cli("run", "--method", "good", "--dry-run")[0] == 0


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ("no_such_module:X", "its settings cannot be imported from no_such_module:X: ModuleNotFoundError"),
        ("leaves_one:X", "its settings cannot be imported from leaves_one:X: SystemExit: 2"),
        ("sound_one:Good", "sound_one:Good is not a subclass of noisybench.methods.Settings"),
    ],
)
def test_broken_settings_disable_their_method_alone(cli, plugin, settings, reason):
    points = {METHODS: {"bad": "sound_one:Good", "good": "sound_one:Good"}, "noisybench.settings": {"bad": settings}}
    plugin("strange", points, {"sound_one.py": GOOD, "leaves_one.py": "raise SystemExit(2)"})
    code, out, _ = cli("methods")
    assert code == 0 and "│ good " in out and "│ bad " not in out
    assert not_usable(out)[0].startswith("not usable: bad of strange: ") and reason in not_usable(out)[0]
    code, _, err = cli("run", "--method", "bad", "--dry-run")
    assert code == 2 and err.count("\n") == 1 and reason in err
    assert cli("run", "--method", "good", "--dry-run")[0] == 0


DATASET = """
    title = "Small"
    source = "synthetic"
    classes = ["a", "b"]
    image_size = 8
    channels = 1
    mean = [0.5]
    std = [0.5]
    licence = "none"
    homepage = ""
    defaults = { model = "noisybench_mlp", epochs = 2, batch_size = 32 }
    [splits]
    meta_size = 8
    noisy_val_size = 8
    clean_val_size = 8
"""


def card_package(plugin, name: str, cards: dict[str, str | bytes]) -> None:
    module = f"{name}_cards"
    plugin(
        name, {CARDS: {name: module}}, {f"{module}/__init__.py": "", **{f"{module}/{k}": v for k, v in cards.items()}}
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (DATASET + "    unknown = 1\n", "splits.unknown: Extra inputs"),
        (DATASET.replace('"a", "b"', '"a", "a"'), "a class is named twice"),
        ('title = "x"\nbase = 3\n', "base: Input should be a valid string"),
        ('title = "x"\nbase = "small"\n', "unknown dataset 'small'"),
        ('title = "x"\nbase = "poor"\n', "base 'poor' has a base itself"),
        ('title = "x"\nbase = "cifar10n"\n', "base 'cifar10n' has a base itself"),
        ('title = "x"\nbase = "digits"\nclasses = { a = 1 }\n', "classes: Input should be a valid list"),
    ],
)
def test_a_bad_dataset_card_disables_its_dataset_alone(cli, plugin, content, reason):
    card_package(plugin, "strange", {"datasets/poor.toml": content, "datasets/fine.toml": DATASET})
    code, out, _ = cli("datasets")
    assert code == 0 and "│ cifar10 " in out and "│ fine " in out and "│ poor " not in out
    (line,) = not_usable(out)
    assert line.startswith("not usable: poor of strange: ") and reason in line
    code, _, err = cli("run", "--dataset", "poor", "--dry-run")
    assert code == 2 and err.count("\n") == 1 and reason in err
    assert cli("run", "--dataset", "fine", "--dry-run")[0] == 0
    assert registry.card_names("datasets")  # what an error's list of datasets is made from


def test_two_cards_of_one_name_disable_each_other_alone(cli, plugin):
    card_package(plugin, "left", {"datasets/same.toml": DATASET})
    card_package(plugin, "right", {"datasets/same.toml": DATASET, "datasets/digits.toml": DATASET})
    code, out, _ = cli("datasets")
    assert code == 0 and "│ digits " in out and "│ same " not in out
    own, first, second = not_usable(out)
    assert own == "not usable: digits of right: noisybench has a card datasets/digits.toml of its own: rename this one"
    assert "same of left: two cards of kind datasets have the name 'same'" in first and "same of right" in second
    code, _, err = cli("run", "--dataset", "same", "--dry-run")
    assert code == 2 and "two cards of kind datasets have the name 'same'" in err
    assert len(registry.dataset_card("digits").classes) == 10


@pytest.mark.parametrize("text", ["import no_such_thing", "raise SystemExit", "raise ValueError"])
def test_cards_that_cannot_be_found_are_named(cli, plugin, text):
    plugin("strange", {CARDS: {"mine": "strange_cards"}}, {"strange_cards/__init__.py": text})
    code, out, _ = cli("datasets")
    assert code == 0 and "│ digits " in out
    (line,) = not_usable(out)
    assert line.startswith("not usable: mine of strange: its cards in strange_cards cannot be found: ")
    assert cli("run", "--dry-run")[0] == 0


def test_a_bad_board_card_leaves_the_other_boards(cli, plugin, tmp_path):
    card_package(plugin, "strange", {"benchmarks/poor.toml": 'title = "x"\n'})
    assert "digits-quick" in registry.card_names("benchmarks") and "poor" not in registry.card_names("benchmarks")
    with pytest.raises(UserError, match="poor.toml: datasets: Field required"):
        registry.benchmark_card("poor")
