"""Templates that escape what they are given, and the security policy of pages."""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

TEMPLATES = Path(__file__).parent / "templates"


def rendered(name: str, scripts: dict[str, str], connect: str = "'none'", **parts: Any) -> str:
    """A template of this folder with these parts, which it escapes.

    Args:
        name: the file.
        scripts: those that a browser may run on the page, by the names that the template has for them.
        connect: the addresses that they may ask, as in a content security policy.
        parts: what else the template shows.
    """
    environment = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    return environment.get_template(name).render(
        **parts,
        **{script: Markup(content) for script, content in scripts.items()},
        style=Markup(own_file("page.css")),
        policy=policy(list(scripts.values()), connect),
    )


def policy(scripts: Sequence[str], connect: str) -> str:
    """A content security policy: nothing from the network, and no script but these."""
    hashes = (base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts)
    allowed = " ".join(f"'sha256-{one}'" for one in hashes) or "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {connect}; base-uri 'none'; form-action 'none'"
    )


def own_file(name: str) -> str:
    """The text of a file of the folder of templates."""
    return (TEMPLATES / name).read_text(encoding="utf-8")
