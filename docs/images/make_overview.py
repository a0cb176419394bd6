"""Put overview.png, the picture at the top of the README, together from the pictures of docs/.

python docs/images/make_overview.py
"""

from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

FOLDER = Path(__file__).parent
IMAGES = 6  # in each row and column
TILE = 58  # pixels from one image of a grid to the next

PANELS = {
    "VAE": "mnist_vae.png",
    "VAE/GAN": "mnist_vae_gan.png",
    "GAN (SNGAN)": "table_mnist_sngan.png",
    "GAN (SNGAN), Fashion-MNIST": "table_fashion_sngan.png",
}


def main() -> None:
    figure = Figure(figsize=(16, 4.4), dpi=100, layout="constrained")
    for axes, (title, name) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        side = IMAGES * TILE + 2
        axes.imshow(Image.open(FOLDER / name).convert("L").crop((0, 0, side, side)), cmap="gray")
        axes.set_title(title, fontsize=18)
        axes.set_axis_off()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("L").save(FOLDER / "overview.png", optimize=True)


if __name__ == "__main__":
    main()
