"""Draw layers.svg, the picture of docs/architecture.md, from the import contract in pyproject.toml.

python docs/images/make_layers.py
"""

import re
from pathlib import Path

FOLDER = Path(__file__).parent
PYPROJECT = FOLDER.parents[1] / "pyproject.toml"

WHAT = {
    "cli": "arguments of the commands",
    "commands": "train, evaluate, sample, compare, ...",
    "training": "Trainer, devices, callbacks",
    "report": "runs as an HTML page",
    "search": "studies, trials, leaderboards",
    "export": "files for other programs",
    "evaluation": "metrics of a model",
    "runs": "run directories: load, resume, compare",
    "models": "one LightningModule per family",
    "config": "compose, check, build",
    "metrics": "Fréchet distance, precision, recall, ...",
    "objectives": "losses, penalties, likelihoods, bounds",
    "data": "data sets, transforms, loader",
    "pictures": "grids and charts",
    "networks": "encoders and decoders",
    "distributed": "between processes",
    "files": "atomic writes, locks",
    "interruption": "signals",
    "progress": "bars and lines",
    "randomness": "noise of each step",
    "ranges": "of arguments",
    "errors": "UserError",
}
WIDTH, ROW, GAP, BOX = 760, 44, 12, 690  # pixels


def layers(text: str) -> list[list[str]]:
    """The rows of the contract "Imports point down only", from the top; a row may hold several names."""
    listed = re.search(r"^layers = \[(.*?)^\]", text, re.DOTALL | re.MULTILINE)
    assert listed is not None
    return [row.split(" | ") for row in re.findall(r'"(.*?)"', listed[1])]


def plain(text: str) -> list[str]:
    """The folders that the second contract keeps free of Lightning and Hydra."""
    listed = re.search(r"^source_modules = \[(.*?)\]", text, re.MULTILINE)
    assert listed is not None
    return re.findall(r'"lightning_gen\.(.*?)"', listed[1])


def box(x: float, y: float, width: float, name: str, colour: str) -> str:
    if width > 300:  # room for both on one line
        places = (x + 14, y + 27), (x + width - 14 if width < BOX else x + 180, y + 27)
    else:
        places = (x + 14, y + 19), (x + 14, y + 36)
    anchor = "end" if 300 < width < BOX else "start"
    text = "".join(
        f'<text x="{across:.0f}" y="{down:.0f}" class="{kind}" text-anchor="{at}">{said}</text>'
        for kind, said, (across, down), at in zip(
            ("name", "what"), (name, WHAT[name]), places, ("start", anchor), strict=True
        )
    )
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{ROW}" rx="6" fill="{colour}" stroke="#5b6b7b"/>'
        + text
    )


def draw() -> str:
    """The SVG."""
    text = PYPROJECT.read_text()
    rows, without_lightning = layers(text), plain(text)
    height = len(rows) * (ROW + GAP) + 56
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">',
        "<style>text{font-family:Helvetica,Arial,sans-serif;fill:#1f2933}.name{font-size:16px;font-weight:bold}"
        ".what{font-size:14px}</style>",
        '<defs><marker id="tip" markerWidth="10" markerHeight="10" refX="5" refY="4" orient="auto">'
        '<path d="M0,0 L9,4 L0,8 z" fill="#5b6b7b"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<path d="M28,20 V{height - 64}" stroke="#5b6b7b" stroke-width="2" marker-end="url(#tip)"/>',
        f'<text x="20" y="{height / 2 - 20:.0f}" class="what" text-anchor="middle" '
        f'transform="rotate(-90 20 {height / 2 - 20:.0f})">may import</text>',
    ]
    for index, names in enumerate(rows):
        y, width = 12 + index * (ROW + GAP), (BOX - GAP * (len(names) - 1)) / len(names)
        for column, name in enumerate(names):
            colour = "#dcefe0" if name in without_lightning else "#e6edf5"
            parts.append(box(52 + column * (width + GAP), y, width, name, colour))
    parts.append(
        f'<rect x="52" y="{height - 36}" width="18" height="18" rx="3" fill="#dcefe0" stroke="#5b6b7b"/>'
        f'<text x="78" y="{height - 22}" class="what">plain PyTorch: imports neither Lightning nor Hydra</text>'
    )
    return "\n".join([*parts, "</svg>\n"])


if __name__ == "__main__":
    (FOLDER / "layers.svg").write_text(draw(), encoding="utf-8")
