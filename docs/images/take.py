"""Copy a picture of a run into this folder, where the documents show it.

python docs/images/take.py NAME RUN    for example: python docs/images/take.py mnist_gan.png runs/mnist/gan/...

The document that shows a picture names the command that trains the run.
"""

import shutil
import sys
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).parent

PICTURES = {  # the folder of the run that holds it, and the step; None: the last one
    "digits_gan.png": ("samples", None),
    "digits_gan_untrained.png": ("samples", 0),
    "digits_vae.png": ("reconstructions", None),
    "mnist_gan.png": ("samples", None),
    "mnist_vae.png": ("samples", None),
    "mnist_small_gan.png": ("samples", None),
    "mnist_small_vae.png": ("priors", None),
    "mnist_small_ae.png": ("samples", None),
    "mnist_vae_gan.png": ("samples", None),
    "mnist_ae_2d.png": ("plane", None),
    "ring8_r1.png": ("field", None),
    "ring8_minimax.png": ("field", None),
    "table_mnist_sngan.png": ("samples", None),
    "table_fashion_sngan.png": ("samples", None),
    "cifar_sngan.png": ("samples", None),
}


def take(name: str, run: Path) -> None:
    """Write the picture `name`, or the animation progress.webp, from the run directory `run`."""
    if name == "progress.webp":
        shutil.copy(run / "samples" / name, FOLDER / name)
        return
    folder, step = PICTURES[name]
    found = sorted((run / folder).glob("step_*.png"))
    path = found[-1] if step is None else run / folder / f"step_{step:08d}.png"
    picture = Image.open(path)
    colours = picture.getcolors(256) if picture.mode == "RGB" else None
    (picture.quantize(len(colours)) if colours else picture).save(FOLDER / name, optimize=True)
    print(f"{FOLDER / name} {picture.size[0]}x{picture.size[1]}")


if __name__ == "__main__":
    take(sys.argv[1], Path(sys.argv[2]))
