"""Every choice of a model's config groups, in small, and rows of choices in which each two of them meet."""

import itertools
import logging
from collections.abc import Iterator
from functools import lru_cache

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from torch import Tensor

from lightning_gen.config.build import build_model
from lightning_gen.config.compose import compose
from lightning_gen.config.tree import config_dir
from lightning_gen.data.loader import Batch
from lightning_gen.models.base import GenerativeModel

SHAPE = (1, 8, 8)
SMALL = {  # by the key that a choice has
    "networks.encoder.widths": [16],
    "networks.encoder.width": 8,
    "networks.decoder.width": 8,
    "networks.decoder.channels": 2,
    "model.latent_dim": 3,
    "model.latent_dims": [4, 3],
    "model.widths": [8],
    "model.discriminator_width": 4,
    "model.quantizer.dim": 4,
    "model.quantizer.num_codes": 8,
    "model.quantizer.levels": [3, 4],
    "model.quantizer.depth": 2,
    "model.prior.width": 16,
    "model.prior.depth": 1,
    "model.prior.widths": [8],
    "model.prior.components": 6,
    "model.components": 2,
    "model.pca_dims": 5,
    "model.fit": "gradient",  # em needs a data set
    "model.posterior.widths": [8],
    "model.posterior.steps": 2,
    "model.divergence.widths": [8],
    "model.objective.outer": 2,
    "model.objective.inner": 3,
    "model.objective.weight": 10.0,  # of a discrepancy that six images estimate badly
    "model.gamma": 1.0,  # FactorVAE's 35 weighs the rounding of the discriminator as well
    "model.augment.p": 1.0,  # so that it does something
    "model.code_activation": "sigmoid",  # which model/regularizer=kl needs
}
PENALTIES = sorted((config_dir() / "model" / "penalty").glob("*.yaml"))
GAUSSIAN = ("dip_vae_i", "dip_vae_ii", "dreg", "sticking_the_landing")  # objectives that need Gaussian posteriors
REFUSED = {  # two choices that do not go together
    *(
        (f"model={model}", f"objective={name}")
        for model in ("hierarchical_vae", "ladder_vae")
        for name in ("beta_tc", *GAUSSIAN)
    ),
    *(("objective=beta_tc", f"posterior={name}") for name in ("full_covariance", "iaf", "planar")),
    *((f"objective={name}", f"posterior={flow}") for name in GAUSSIAN for flow in ("iaf", "planar")),
    *((f"posterior={name}", "prior=vamp") for name in ("full_covariance", "iaf", "planar")),
    ("likelihood=optimal_gaussian", "objective=dreg"),
    *(
        (f"model={model}", "likelihood=table") for model in ("vae", "factor_vae", "hierarchical_vae", "ladder_vae")
    ),  # images
    *((f"model={name}", "penalty=consistency") for name in ("bigan", "wae")),
    *((f"model={name}", "penalty=path_length") for name in ("bigan", "gan", "infogan", "vae_gan", "wae")),  # mlp
    *(("divergence=mmd", f"penalty={file.stem}") for file in PENALTIES if file.stem not in ("none", "consistency")),
    *(("augment=ada", f"loss={name}") for name in ("relativistic_average", "relativistic_paired", "wasserstein")),
}
Row = dict[str, str]  # a choice for each group
Pair = tuple[str, ...]  # of choices, `group=choice`, in order of their names


def models() -> list[str]:
    """The choices of `model`."""
    return sorted(file.stem for file in (config_dir() / "model").glob("*.yaml"))


@lru_cache
def groups(model: str) -> dict[str, list[str]]:
    """The groups that a model has, and the choices of each that it takes."""
    defaults = OmegaConf.load(config_dir() / "model" / f"{model}.yaml").get("defaults", [])
    based_on = [entry for entry in defaults if isinstance(entry, str) and entry != "_self_"]
    if based_on:
        return groups(based_on[0])
    names = [name for entry in defaults if OmegaConf.is_dict(entry) for name in entry]
    refused = {choice for other, choice in REFUSED if other == f"model={model}"}
    found = {name: sorted(file.stem for file in (config_dir() / "model" / name).glob("*.yaml")) for name in names}
    return {
        name: [choice for choice in choices if f"{name}={choice}" not in refused]
        for name, choices in found.items()
        if choices
    }


def meetings(row: Row, together: int) -> set[Pair]:
    """The choices of a row, each with `together` - 1 others."""
    chosen = sorted(f"{group}={choice}" for group, choice in row.items())
    return set(itertools.combinations(chosen, min(len(chosen), together)))


def rows(model: str, together: int = 2) -> Iterator[Row]:
    """Choices for all groups of a model, such that any two that go together (or just each one) are in one of the rows."""
    options = groups(model)
    chosen = [dict(zip(options, row, strict=True)) for row in itertools.product(*options.values())]
    left = set().union(*(meetings(row, together) for row in chosen)) - REFUSED
    if not options:
        yield {}
        return
    while left:
        row = dict(choice.split("=") for choice in min(left))
        for group in (group for group in options if group not in row):
            longer = [row | {group: choice} for choice in options[group]]
            fitting = [one for one in longer if not meetings(one, 2) & REFUSED]
            row = max(fitting, key=lambda one: len(meetings(one, together) & left))
        left -= meetings(row, together)
        yield row


@lru_cache
def _composed(model: str) -> DictConfig:
    networks = [] if model in ("ladder_vae", "vqgan", "vqvae") else ["networks=mlp"]
    config = compose([f"model={model}", *networks, *(["num_classes=3"] if model == "classifier" else [])])
    tree = OmegaConf.to_container(
        OmegaConf.masked_copy(config, ["model", "networks", "seed", "num_classes", "schedule"])
    )
    config = OmegaConf.create({**tree, "dataset": {"flip": False}})
    for key, value in SMALL.items():
        if OmegaConf.select(config, key) is not None:
            OmegaConf.update(config, key, value)
    for name in ("optimizer", "generator_optimizer", "discriminator_optimizer"):
        if name in config.model and not OmegaConf.is_interpolation(config.model, name):
            config.model[name].lr = 0.0  # one step changes nothing
    return config


def config_of(model: str, row: Row) -> DictConfig:
    """The config of these choices, small."""
    config = _composed(model).copy()
    for group, choice in row.items():
        file = config_dir() / "model" / group / f"{choice}.yaml"
        chosen = OmegaConf.load(file)
        if file.read_text().startswith("# @package model\n"):  # it sets keys of the model beside its own
            chosen, more = chosen.pop(group), chosen
            config.model = OmegaConf.merge(config.model, more)
        for key, value in SMALL.items():
            inner = key.removeprefix(f"model.{group}.")
            if inner in chosen:
                chosen[inner] = value
        config.model[group] = chosen
    return OmegaConf.create(OmegaConf.to_container(config, resolve=True))  # as in a run directory


def made(model: str, row: Row) -> GenerativeModel:
    """The model of these choices, with weights that bfloat16 holds exactly."""
    torch.manual_seed(0)
    built = build_model(config_of(model, row), SHAPE)
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.copy_(parameter.bfloat16())
    return built


def batch_of(count: int) -> Batch:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(256, (count, *SHAPE), generator=generator) / 255
    return Batch(images, torch.arange(count) % 3)


class Endless:
    """One batch again and again."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __iter__(self) -> Iterator[Batch]:
        while True:
            yield self.batch


def fit(model: GenerativeModel, batch: Batch, steps: int = 1, **options: object) -> dict[str, Tensor]:
    """What the model logs in its last step."""
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        log_every_n_steps=1,
        **options,
    )
    trainer.fit(model, Endless(batch))
    return model.scalars
