"""docs/keys.md lists every key with its type, default and meaning, and is what its command prints."""

from pathlib import Path

from lightning_gen.config.reference import comments, page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_is_what_its_command_prints():
    assert (DOCS / "keys.md").read_text() == page()


def test_types_defaults_and_meanings_stand_side_by_side():
    lines = page().splitlines()
    assert any(line.startswith("| `seed` | a whole number, 0 or more | `0` | ") for line in lines)
    assert any(line.startswith("| `dataset.size` | a whole number, 1 or more, or null | `null` | ") for line in lines)
    assert any(line.startswith("| `model.likelihood.") for line in lines)


def test_comments_behind_above_and_over_two_lines():
    text = "a: 1  # one\nb:\n  c: 2  # two\n  # and more\n  # Above.\n  d: 3\n"
    assert comments(text) == {"a": "one", "b": "", "b.c": "two and more", "b.d": "Above."}
