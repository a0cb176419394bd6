"""Training with differential privacy: what it allows, its noise, its secret, and what it has spent."""

import secrets
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_gen.config.tree import is_private
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.files import write_atomically
from lightning_gen.models.autoencoder import Autoencoder
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.gan import GAN
from lightning_gen.models.vae import VAE
from lightning_gen.networks.equalized import MinibatchStd
from lightning_gen.objectives.accountant import epsilon_of, noise_for
from lightning_gen.objectives.augmentation import Augmentation
from lightning_gen.objectives.bounds import CIWAE, ELBO, IWAE, MIWAE
from lightning_gen.objectives.penalties import WeightClipping
from lightning_gen.objectives.private_gradients import PrivateGradients, default_delta
from lightning_gen.objectives.regularizers import Regularizer
from lightning_gen.runs.run import Run
from lightning_gen.training.devices import process_count

SECRET = "noise_seed"  # the file in the run directory; who has it can subtract the noise
COMPARED = {"memorization", "rae"}  # metrics that compare with training images
OF_ONE_IMAGE = (ELBO, IWAE, MIWAE, CIWAE)  # objectives that average nothing over a batch


def make_private(run: Run, model: GenerativeModel, data: ImageDataModule) -> None:
    """Let the model train by DP-SGD if `privacy.epsilon` is set, and fill in its noise and its delta.

    Raises:
        UserError: something in the config breaks the guarantee, or the budget does not suffice.
    """
    if not is_private(run.config):
        return
    options = run.config.privacy
    check(run.config, model, data)
    count, each = len(data.train), model.batches_per_step
    rate, updates = data.batch_size / count, run.config.trainer.max_steps * each
    if options.delta is None:
        options.delta = default_delta(count)
    if options.noise_multiplier is None:
        options.noise_multiplier = noise_for(options.epsilon, rate, updates, options.delta)
    spent = epsilon_of(options.noise_multiplier, rate, options.delta)
    if spent(updates) > options.epsilon:
        raise UserError(
            f"trainer.max_steps={run.config.trainer.max_steps} would spend epsilon {spent(updates):.2f}, more than "
            f"privacy.epsilon={options.epsilon:g}, with privacy.noise_multiplier={options.noise_multiplier:.4g}: "
            "train less, or allow more."
        )
    secret = secret_of(run)
    record = {"noise_multiplier": options.noise_multiplier, "delta": options.delta, "rate": rate}
    record["max_grad_norm"] = options.max_grad_norm
    model.private = PrivateGradients(
        options.noise_multiplier, options.max_grad_norm, data.batch_size, secret, spent, each, record
    )
    data.sampling_secret = secret


def secret_of(run: Run) -> int:
    """The seed of noise and sampling: `privacy.noise_seed`, or that of the run directory, or a new one.

    A seed that everybody knows, such as that of the config, would let anybody compute the noise and subtract it.
    """
    if run.config.privacy.noise_seed is not None:
        return int(run.config.privacy.noise_seed)
    kept = run.path / SECRET
    return int(kept.read_text()) if kept.exists() else secrets.randbits(63)


def keep_secret(folder: Path, model: GenerativeModel) -> None:
    """Write the seed of the noise into the run directory, readable by its owner alone: resuming needs it."""
    if model.private is not None and not (folder / SECRET).exists():
        write_atomically(folder / SECRET, f"{model.private.seed}\n")
        (folder / SECRET).chmod(0o600)


def summary(model: GenerativeModel, steps: int) -> dict[str, Any]:
    """What summary.json says of privacy; empty without."""
    if model.private is None:
        return {}
    return {"privacy": {"epsilon": model.private.epsilon(steps), **model.private.record}}


# -- what breaks the guarantee ---------------------------------------------------------------------------------


def check(config: DictConfig, model: GenerativeModel, data: ImageDataModule) -> None:
    """Check that nothing but clipped gradients with noise depends on the training images.

    Raises:
        UserError: names the override to change.
    """
    kind, trainer = type(model), config.trainer
    if kind not in (Autoencoder, VAE, GAN):
        raise UserError(f"privacy=dp_sgd cannot train model={config.model.name}: use model=ae, vae or gan.")
    _refuse(
        (process_count(trainer) > 1, "trains on one device: set trainer.devices=1 trainer.num_nodes=1"),
        (trainer.max_steps < 1, "needs to know how long it trains: set trainer.max_steps to 1 or more"),
        (str(trainer.precision) not in ("32-true", "32", "64-true", "64"), "needs trainer.precision=32-true"),
        (trainer.accumulate_grad_batches > 1, "needs trainer.accumulate_grad_batches=1; raise dataset.batch_size"),
        (trainer.gradient_clip_val is not None, "clips by privacy.max_grad_norm: set trainer.gradient_clip_val=null"),
        (config.on_divergence == "rollback", "cannot use the noise of a step twice: set on_divergence=stop"),
        (data.load().train.stream is not None, "samples from all images, which this data set reads while training"),
        (data.batch_size > len(data.train), f"needs dataset.batch_size of at most {len(data.train)}, the images"),
        (data.train.images.is_floating_point(), "is for images: points are compared with the training points"),
        (
            config.evaluation.split == "train",
            "must not publish a comparison with training images: evaluation.split=test",
        ),
        (
            bool(COMPARED & set(config.evaluation.metrics)),
            f"must not publish comparisons with training images: leave {' and '.join(sorted(COMPARED))} out of "
            "evaluation.metrics",
        ),
    )
    _check_networks(model.discriminator if isinstance(model, GAN) else model)
    if isinstance(model, GAN):
        _check_gan(model)
    elif isinstance(model, VAE):
        _check_vae(model)
    elif isinstance(model, Autoencoder):
        _refuse(
            (
                type(model.regularizer) is not Regularizer,
                "trains autoencoders without a penalty: set model/regularizer=none",
            ),
            (model.leaves_parameters_out, "needs model.pretrain.steps_per_layer=0"),
        )


def _refuse(*rules: tuple[bool, str]) -> None:
    for broken, words in rules:
        if broken:
            raise UserError(f"privacy=dp_sgd {words}.")


def _check_networks(network: nn.Module) -> None:
    parts = list(network.modules())
    _refuse(
        (
            any(isinstance(part, _BatchNorm) for part in parts),
            "excludes batch norm, which mixes images and keeps their statistics: set networks.encoder.norm=none "
            "networks.decoder.norm=none, or choose networks=mlp",
        ),
        (
            any(isinstance(part, MinibatchStd) for part in parts),
            "excludes minibatch standard deviations, which mix images: set networks.encoder.minibatch_std=0",
        ),
        (
            any(isinstance(part, nn.Dropout) and part.p > 0 for part in parts),
            "excludes dropout: set networks.encoder.dropout=0",
        ),
    )


def _check_gan(model: GAN) -> None:
    penalties = [penalty for penalty in model.penalty.values() if not isinstance(penalty, WeightClipping)]
    _refuse(
        (bool(penalties), "trains discriminators without penalties of images: set model/penalty=none"),
        (type(model.augment) is not Augmentation, "needs model/augment=none: an adaptive one follows raw logits"),
        (model.loss.paired, "excludes losses that compare real with generated images: set model/loss=non_saturating"),
        (model.num_classes > 0, "has no conditional GAN, whose generator needs the labels: set conditional=false"),
        (model.one_pass, "judges each image alone: set model.one_pass=false"),
    )


def _check_vae(model: VAE) -> None:
    name = model.objective.choice
    _refuse(
        (
            type(model.objective) not in OF_ONE_IMAGE,
            f"needs an objective of single images, not {name}: use model/objective=elbo, beta or iwae",
        ),
        (model.likelihood.couples_images, "needs a likelihood of single images: use model/likelihood=gaussian"),
        (model.prior.of_images, "excludes a prior that starts from images: use model/prior=standard_normal"),
        (model.output_bias == "data_mean", "must not start from the mean image: set model.output_bias=default"),
    )
