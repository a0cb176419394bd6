"""docs/architecture.md describes the tree and the import contract as they are."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "architecture.md").read_text()


def listed_paths() -> list[Path]:
    """The files and folders of the tree in "The tree", by their indentation."""
    tree = re.search(r"## The tree\n\n```\n(.*?)```", TEXT, re.DOTALL)
    assert tree is not None
    found, folders = [], [Path()]
    for line in tree[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        for name in re.findall(r"[\w/]+(?:\.\w+|/)(?=[, ]|$)", re.split(r"  +", line.strip())[0]):
            path = folders[depth] / name
            found.append(path)
            if name.endswith("/"):
                folders[depth + 1 :] = [path]
    return found


def test_every_file_and_folder_of_the_tree_exists():
    paths = listed_paths()
    assert len(paths) > 60
    assert [str(path) for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_of_the_package_is_listed():
    folders = {
        path.relative_to(ROOT) for path in (ROOT / "lightning_gen").iterdir() if (path / "__init__.py").exists()
    }
    assert folders - set(listed_paths()) == set()


def test_the_picture_of_the_layers_is_that_of_the_import_contract():
    script = runpy.run_path(str(ROOT / "docs" / "images" / "make_layers.py"))
    assert (ROOT / "docs" / "images" / "layers.svg").read_text(encoding="utf-8") == script["draw"]()
