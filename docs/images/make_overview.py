"""Draw overview.png, the picture at the top of the README: samples of several runs side by side.

python docs/images/make_overview.py RUN [RUN ...]
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

import lightning_gen as lg
from lightning_gen.evaluation.headings import data_name, distance, model_name
from lightning_gen.pictures import grid

FOLDER = Path(__file__).parent
SIDE = 6  # images in each row and column


def main(paths: list[str]) -> None:
    figure = Figure(figsize=(4 * len(paths), 4.9), dpi=100)
    for index, path in enumerate(paths):
        run = lg.load(path)
        picture = grid(run.sample(SIDE**2), columns=SIDE)
        axes = figure.add_axes(((index + 0.03) / len(paths), 0.0, 0.94 / len(paths), 0.79))
        axes.imshow(np.asarray(picture.convert("RGB")), interpolation="antialiased")
        axes.set_axis_off()
        seconds = run.summary["progress"]["seconds"]
        took = f"{seconds:.0f} seconds" if seconds < 180 else f"{seconds / 60:.0f} minutes"
        lines = f"{distance(run.metrics)}\n{took} of training"
        title = f"{model_name(run.model)} on {data_name(run.config.dataset.name)}"
        style = {"transform": axes.transAxes, "va": "bottom", "ha": "left"}
        axes.text(0, 1.16, title, size=18, weight="bold", **style)
        axes.text(0, 1.01, lines, size=15, color="#5a5a5a", linespacing=1.25, **style)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(FOLDER / "overview.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
