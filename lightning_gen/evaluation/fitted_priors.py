"""Densities fitted to the codes of a trained model, saved in the run directory as priors/<kind>.pt."""

import time
from collections.abc import Callable
from typing import Any, Literal

import torch

from lightning_gen.config.build import build_data
from lightning_gen.config.tree import is_private
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.latent_density import Density, GaussianMixture
from lightning_gen.models.learned_density import CouplingFlow, SecondStageVAE
from lightning_gen.models.use import codes_of, in_precision
from lightning_gen.progress import progress
from lightning_gen.runs.loading import no_codes
from lightning_gen.runs.run import Run

Kind = Literal["gaussian", "gmm", "two_stage", "flow"]
KINDS: dict[str, Callable[..., Density]] = {
    "gaussian": GaussianMixture,
    "gmm": GaussianMixture,
    "two_stage": SecondStageVAE,
    "flow": CouplingFlow,
}
COMPONENTS = 10  # of the Gaussian mixture, as in the RAE paper (Ghosh et al. 2020)


def build_density(kind: str, dim: int, components: int = COMPONENTS, seed: int = 0) -> Density:
    """A density of codes [N, dim] that is not fitted yet; the seed determines its initial weights."""
    options = {"components": components} if kind == "gmm" else {}
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        return KINDS[kind](dim, **options)


def fitted_density(
    model: GenerativeModel, data: ImageDataModule, kind: str, components: int = COMPONENTS, seed: int = 0
) -> tuple[Density, int]:
    """A density fitted to the codes of all training images, on the model's device, and the number of codes.

    Raises:
        UserError: no more codes than components of a mixture.
    """
    with progress(None, f"encoding {len(data.train):,} training {data.unit}"):
        codes, _ = codes_of(model, in_precision(model, data.train_batches(model.device, limit=len(data.train))))
    if kind == "gmm" and len(codes) <= components:
        raise UserError(f"--components {components} is too many for {len(codes)} codes.")
    density = build_density(kind, codes.shape[1], components, seed).to(model.device)
    with progress(None, f"fitting {kind} to the codes"):
        density.fit(codes, seed=seed)
    return density, len(codes)


def fit_and_keep(
    run: Run, model: GenerativeModel, data: ImageDataModule, kind: str, components: int, checkpoint: str
) -> dict[str, Any]:
    """Fit a density, write priors/<kind>.pt, and return the entry that is added to summary.json."""
    if is_private(run.config):
        raise UserError(
            f"{run.path} is private (privacy=dp_sgd): a density of the codes of its training images would not be."
        )
    start = time.monotonic()
    density, count = fitted_density(model, data, kind, components, run.config.seed)
    record = {"codes": count, "checkpoint": checkpoint, "images_seen": model.images_seen}
    if kind == "gmm":
        record["components"] = components
    record["seconds"] = round(time.monotonic() - start, 2)
    path = run.path / "priors" / f"{kind}.pt"
    path.parent.mkdir(exist_ok=True)
    state = {name: tensor.cpu() for name, tensor in density.state_dict().items()}
    torch.save({"images_seen": model.images_seen, "components": components, "state_dict": state}, path)
    run.write_summary(priors=run.read_summary().get("priors", {}) | {kind: record})
    return record


def attach_prior(run: Run, model: GenerativeModel, kind: str, checkpoint: str = "best") -> None:
    """Make the model sample from a density of its codes, which is fitted now unless the run has it already.

    With the kind `prior` the model keeps its own prior.

    Raises:
        UserError: the density was fitted to another checkpoint, its file is damaged, its table has changed, or the
            model has no encoder or no decoder.
    """
    if kind == "prior":
        return
    path = run.path / "priors" / f"{kind}.pt"
    if not path.exists():
        check_codes(run, model)
        data = build_data(run.config)
        model.check_table(data)
        fit_and_keep(run, model, data, kind, COMPONENTS, checkpoint)
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        density = build_density(kind, model.latent_dim, saved["components"])
        density.load_state_dict(saved["state_dict"])
        fitted_to = saved["images_seen"]
    except Exception as error:  # damaged files raise many kinds of errors
        raise UserError(f"{path} cannot be read: delete it, and it will be fitted again.") from error
    if fitted_to != model.images_seen:
        raise UserError(
            f"{path} was fitted to another checkpoint: run `lightning-gen fit-prior {run.path} --kind {kind} "
            f"--checkpoint ...` for this checkpoint."
        )
    model.density = density.to(model.device).requires_grad_(False)


def check_codes(run: Run, model: GenerativeModel) -> None:
    """Raise a UserError for a model without an encoder or without a decoder."""
    name = run.config.model.name
    if not model.can_encode:
        raise UserError(no_codes(run))
    if not model.can_sample:
        raise UserError(f"{run.path} has model={name}, which has no decoder and so no samples.")
