"""The README names every command; test_documents.py, test_extending.py and test_python_examples.py run what it shows."""

import re
from pathlib import Path

from lightning_gen.cli import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_command_is_listed():
    commands = {command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands}
    assert set(re.findall(r"^lightning-gen (\S+)", README, re.MULTILINE)) == commands
