"""The commands, names and links that README.md and docs/*.md show."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAM = re.compile(r"(?:\$ )?((?:python train\.py|lightning-gen|make)(?: .*)?)")

# What a reader replaces. A new placeholder needs a line here, or the test of commands fails.
PLACEHOLDERS = {
    "RUN": "runs/latest",
    "DIR": "pictures",
    "FOLDER": "runs/latest",
    "FILE": "images",  # documents write FILE.npz
    "KIND": "gmm",
    "N": "2",
    "URL": "https://download.pytorch.org/whl/cpu",
    "Z": "3",
    "STEPS": "2",
    "EVERY": "1",
    "EXPERIMENT": "vae_kingma2014",
    "MODEL": "model=ae",
    "SHORT": "dataset=mnist hardware=cpu logger=csv evaluation.held_out=null",
}


class Command(NamedTuple):
    """A command of a document, its placeholders replaced."""

    where: str  # README.md:12
    words: tuple[str, ...]

    @property
    def overrides(self) -> list[str] | None:
        """What it passes to train.py; None if it does not train."""
        words = list(self.words)
        if words[:2] == ["python", "train.py"]:
            return words[2:]
        if words[:2] == ["lightning-gen", "train"]:
            return words[2:]
        if words[:2] == ["make", "train"]:
            return shlex.split(next((word[5:] for word in words if word.startswith("ARGS=")), ""))
        return None

    def __str__(self) -> str:
        return f"{self.where}: {shlex.join(self.words)}"


def commands(document: Path) -> Iterator[Command]:
    """Every command line of a document: lines of code blocks, and code spans in text and tables."""
    for number, line in [*_block_lines(document.read_text()), *code_spans(document.read_text())]:
        match = PROGRAM.fullmatch(re.sub(r"python -m lightning_gen(?!\.)", "lightning-gen", line))
        if match:
            yield command(match[1], f"{document.relative_to(ROOT)}:{number}")


def command(line: str, where: str) -> Command:
    """A command line with something real for each placeholder.

    Raises:
        ValueError: a placeholder that `PLACEHOLDERS` does not have.
    """

    def real(match: re.Match[str]) -> str:
        if match[0] not in PLACEHOLDERS:
            raise ValueError(f"{where}: {match[0]} stands for nothing that tests/documents.py knows")
        return PLACEHOLDERS[match[0]]

    words = shlex.split(re.sub(r"(?<![\w$])[A-Z]+(?![\w=])", real, line))
    return Command(where, tuple(word for word in words if not word.endswith("...")))


def code_spans(text: str) -> Iterator[tuple[int, str]]:
    """The inline code of a text, each with its line number."""
    text = FENCED.sub(lambda block: "\n" * block[0].count("\n"), text)
    for span in re.finditer(r"`([^`]+)`", text):
        yield text.count("\n", 0, span.start()) + 1, " ".join(span[1].replace("\\|", "|").split())


def blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """The code blocks of a text: line number of the first line, language, content."""
    for block in FENCED.finditer(text):
        yield text.count("\n", 0, block.start(2)) + 1, block[1], block[2]


def written_configs() -> dict[str, str]:
    """The configs that documents tell readers to write, by their paths under conf/."""
    texts = (text for file in DOCUMENTS for _, language, text in blocks(file.read_text()) if language == "yaml")
    heads = ((re.match(r"# conf/(\S+)\n", text), text) for text in texts)
    return {head[1]: text for head, text in heads if head}


def _block_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of code blocks in no programming language, without what explains them on the right."""
    for first, language, content in blocks(text):
        if language in ("", "bash", "sh", "console", "text"):
            joined = re.sub(r"\\\n\s*", " ", content)
            for offset, line in enumerate(joined.splitlines()):
                yield first + offset, re.split(r"\s{2,}|\s#\s", line.strip())[0]
