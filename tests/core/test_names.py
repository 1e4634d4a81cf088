"""The one rule for names."""

from __future__ import annotations

import pytest

from noisybench.core.names import file_name_fault, name_fault, shown_name


@pytest.mark.parametrize(
    "name",
    [
        "ce",
        "co-teaching-plus",
        "my_package.methods:MyMethod",
        "resnet50.tv_in1k",
        "hf-hub:timm/resnet18.a1_in1k@v1",
        "method/kept_fraction",
        "0123456789abcdef+changes",
        "imagefolder:photos/train",
        "x" * 200,
    ],
)
def test_names_in_use_keep_it(name):
    assert name_fault(name) is None
    assert shown_name(name) == name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty"),
        ("x" * 201, "has 201 characters"),
        ("с\u0435", "'\\u0441' (CYRILLIC SMALL LETTER ES)"),
        ("c\u0435", "'\\u0435' (CYRILLIC SMALL LETTER IE)"),
        ("ce\u200b", "'\\u200b' (ZERO WIDTH SPACE)"),
        ("ce\u202e", "RIGHT-TO-LEFT OVERRIDE"),
        ("ce\x1b[2J", "'\\x1b'"),
        ("ce\n", "'\\n'"),
        ("ce ", "' ' (SPACE)"),
        ("\udcff", "'\\udcff'"),
        ("-x", "begins or ends with '-'"),
        ("x/", "begins or ends with '/'"),
        ("/etc", "begins or ends with '/'"),
        ("..", "begins or ends with '.'"),
        ("a/../b", "between slashes"),
        ("a//b", "between slashes"),
        (3, "is no text"),
        (None, "is no text"),
    ],
)
def test_what_is_no_name_is_told_in_plain_characters(name, fault):
    found = name_fault(name)
    assert fault in found and found.isascii() and found.isprintable()
    assert shown_name(name).isascii() and shown_name(name).isprintable()
    assert len(shown_name(name)) < 210


@pytest.mark.parametrize("name", ["a/b", "a:b", "../x", "..", ".", "", "/x", ".hidden", "C:x"])
def test_a_folders_name_does_not_lead_out_of_its_folder(name):
    assert file_name_fault(name) is not None


def test_a_folder_may_have_a_boards_name():
    assert file_name_fault("digits-quick") is None
