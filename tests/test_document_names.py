"""Names, links and pictures in README.md and docs/ exist."""

import re
from pathlib import Path

import yaml

from lightning_gen.config.tree import all_keys, config_dir
from tests.documents import DOCUMENTS, ROOT, code_spans, written_configs

TEXTS = [file for file in DOCUMENTS if file.name != "CHANGELOG.md"]  # which speaks of former names too
SPANS = [(f"{file.relative_to(ROOT)}:{line}", span) for file in TEXTS for line, span in code_spans(file.read_text())]


def test_keys_and_options_in_the_text_exist():
    """`group=option`, `key=value` and `group/part=` wherever they stand between backticks."""
    groups = {str(folder.relative_to(config_dir())) for folder in config_dir().rglob("*/")} | {"sweeps"}
    known = {*all_keys(), *written_keys(), *groups, "checkpoint"}  # lightning-gen evaluate takes checkpoint=
    known |= {re.split("[./]", key)[-1] for key in known}  # a table says `classes=` under the heading `dataset.*=`
    wrong = []
    for where, span in SPANS:
        for word in span.split() if "(" not in span else ():  # Python
            override = re.fullmatch(r"\+?([a-z_]+(?:[./][a-z0-9_]+)*)=(?!True|False)(\S*)", word)
            if override is None or override[1].startswith("hydra."):
                continue
            key, value = override.groups()
            if key.removeprefix("model.source.") not in known:
                wrong.append(f"{where}: {word}: no such key")
            elif key in groups and re.fullmatch(r"[a-z][a-z0-9_,]*", value):
                wrong += [f"{where}: {word}: no such option" for o in value.split(",") if o not in options(key)]
    assert not wrong, "\n".join(wrong)


def written_keys() -> set[str]:
    """The keys of the configs that documents tell readers to write; of a list of options, under the option's name."""
    keys = set()
    for path, text in written_configs().items():
        groups = Path(path).parent.parts
        for key, value in yaml.safe_load(text).items():
            inner = value if isinstance(value, dict) else {}
            keys |= {".".join([*groups, key]), ".".join([*groups, Path(path).stem, key]), key}
            keys |= {".".join([*groups, key, name]) for name in inner}
    return keys


def options(group: str) -> set[str]:
    """The choices of a group, with those that documents tell readers to write."""
    files = [*(config_dir() / group).glob("*.yaml"), *(ROOT / group).glob("*.yaml")]
    written = {Path(path).stem for path in written_configs() if str(Path(path).parent) == group}
    return {file.stem for file in files} | written | {"null", "short"}  # short: a reader's own experiment


def test_links_and_pictures_are_there():
    wrong = []
    for file in DOCUMENTS:
        text = file.read_text()
        links = re.findall(r"\]\(((?!http)[^)\s]+)", text) + re.findall(r'(?:src|href)="((?!http)[^"]+)', text)
        for link in links:
            path, _, anchor = link.partition("#")
            target = file.parent / path if path else file
            if not target.exists() or (anchor and anchor not in anchors(target)):
                wrong.append(f"{file.relative_to(ROOT)}: {link}")
    assert not wrong, "\n".join(wrong)


def anchors(file: Path) -> set[str]:
    """The headings of a document as GitHub and the site link to them."""
    headings = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_navigation_of_the_site():
    pages = {file.name for file in (ROOT / "docs").glob("*.md")}
    shown = set(re.findall(r": (\w+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))
    assert pages <= shown
    assert shown - pages == {"index.md", "reference.md", "contributing.md", "changelog.md"}  # docs/site_pages.py


def test_extras_that_documents_install_exist():
    declared = re.search(r"optional-dependencies\]\n(.*?)\n\n", (ROOT / "pyproject.toml").read_text(), re.DOTALL)
    extras = re.findall(r"^(\w+) =", declared[1], re.MULTILINE)
    shown = {name for file in DOCUMENTS for name in re.findall(r"(?:lightning-gen|\.)\[(\w+)\]", file.read_text())}
    assert shown <= set(extras)
    assert "umap" in shown


def test_lines_of_text_and_of_commands_can_be_read_without_scrolling():
    """At most 130 characters, but for tables and pictures."""
    lines = [
        (f"{file.relative_to(ROOT)}:{n}", x)
        for file in DOCUMENTS
        for n, x in enumerate(file.read_text().splitlines(), 1)
    ]
    assert not [where for where, line in lines if len(line) > 130 and not line.startswith(("|", "!["))]
