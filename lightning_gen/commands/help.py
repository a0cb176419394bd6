"""The text of `python train.py --help`."""

import shutil
import textwrap

from lightning_gen.config.tree import options_of_groups

HELP_HEAD = """Train a model: every option is a config under conf/, every value an override.

  python train.py                                a GAN on 10,000 digits of MNIST
  python train.py model=vae dataset=mnist        a choice from a group
  python train.py model.latent_dim=8 seed=3      a value of a key
  python train.py model/loss=hinge               a choice inside the model
  python train.py -m model=ae,vae,gan seed=0,1   a grid: one run for each combination
  python train.py resume=runs/latest             continue a run, or all jobs of a grid

Common keys:
"""
COMMON_KEYS = {
    "trainer.max_steps": "training steps",
    "seed": "decides everything random: weights, order, noise",
    "model.latent_dim": "dimensions of the code",
    "model.d_steps": "updates of the discriminator for each of the generator",
    "conditional": "true: the model is given the class of each image",
    "dataset.batch_size": "images in a step, over all devices",
    "dataset.size": "side in pixels to which images are resized, once",
    "dataset.classes": "classes to keep, such as [3,5]",
    "dataset.limit": "largest number of training images",
    "dataset.root": "folder of the data set's files",
    "evaluation.every_n_steps": "steps between evaluations",
    "evaluation.num_samples": "samples that are compared with real images",
    "checkpoint.every_n_steps": "steps between checkpoints",
    "trainer.devices": "how many GPUs, or processes on the CPU",
    "trainer.precision": "32-true, bf16-mixed or 16-mixed",
    "hydra.run.dir": "the run directory",
}
HELP_END = """
docs/keys.md lists all keys. --cfg job prints the composed config.
--hydra-help shows the flags of Hydra."""


def help_text() -> str:
    """The text of --help: common keys, and the groups with their choices."""
    lines = [HELP_HEAD, *(f"  {key + '=':<26}{meaning}" for key, meaning in COMMON_KEYS.items())]
    lines.append("\nGroups and their choices:\n")
    for group, options in options_of_groups().items():
        if not group.startswith("evaluation/extractor"):
            lines += wrap(f"{group}=", ", ".join(options))
    lines.append(HELP_END)
    return "\n".join(lines)


def wrap(name: str, text: str) -> list[str]:
    """Lines as wide as the terminal, at most 110 characters: a name on the left and a text on the right."""
    width = min(shutil.get_terminal_size((110, 24)).columns, 110) - 26
    first, *rest = textwrap.wrap(text, max(width, 20))
    return [f"  {name:<22}{first}", *(" " * 24 + line for line in rest)]
