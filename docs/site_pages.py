"""Pages of the site that lie outside docs/: README.md as the home page, and the reference of the Python functions."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
REFERENCE = """# Reference

::: lightning_gen
    options:
      members: [load, train, frechet_distance, UserError]
      show_root_heading: false
      show_root_toc_entry: false

::: lightning_gen.runs.trained.TrainedRun
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages, with their links as they are within docs/."""
    for source, page in PAGES.items():
        text = re.sub(r"\]\((?!http|#)", "](../", (ROOT / source).read_text())
        files.append(File.generated(config, page, content=text.replace("](../docs/", "](")))
    files.append(File.generated(config, "reference.md", content=REFERENCE))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links that leave docs/ lead to the page made of that file, or else to the repository."""

    def target(match: re.Match[str]) -> str:
        path, anchor = match[1], match[2] or ""
        return f"]({PAGES.get(path, f'{config.repo_url}/blob/main/{path}')}{anchor})"

    return re.sub(r"\]\(\.\./([^)#]+)(#[^)]*)?\)", target, markdown)
