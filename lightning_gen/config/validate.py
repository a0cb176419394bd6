"""The rules between keys that no single config can state."""

from omegaconf import DictConfig

from lightning_gen.errors import UserError
from lightning_gen.networks.initialization import INITIALIZATIONS


def validate(config: DictConfig) -> None:
    """The rules between keys that no single config can state.

    Raises:
        UserError: with the override that would put it right.
    """
    trainer = config.trainer
    least = {
        "seed": (config.seed, 0),
        "trainer.max_steps": (trainer.max_steps, 0),
        "evaluation.num_samples": (config.evaluation.num_samples, 2),  # a covariance needs two
    }
    positive = {
        "dataset.batch_size": config.dataset.batch_size,
        "model.latent_dim": config.model.get("latent_dim", 1),
        "trainer.log_every_n_steps": trainer.log_every_n_steps,
        "checkpoint.every_n_steps": config.checkpoint.every_n_steps,
        "evaluation.every_n_steps": config.evaluation.every_n_steps,
        "model.d_steps": config.model.get("d_steps", 1),
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
    }
    for key, (value, minimum) in (least | {key: (value, 1) for key, value in positive.items()}).items():
        if not isinstance(value, int) or value < minimum:
            raise UserError(f"{key}={value} must be a whole number, {minimum} or more.")
    if trainer.gradient_clip_algorithm not in (None, "norm", "value"):
        raise UserError(
            f"trainer.gradient_clip_algorithm={trainer.gradient_clip_algorithm} is not known: use norm or value."
        )
    if config.networks.spectral_norm not in ("none", "encoder", "decoder", "both"):
        raise UserError(
            f"networks.spectral_norm={config.networks.spectral_norm}: use none, encoder, decoder or both."
        )
    if config.networks.init not in INITIALIZATIONS:
        raise UserError(f"networks.init={config.networks.init}: use one of {', '.join(INITIALIZATIONS)}.")
    if config.networks.decoder.get("tied") and config.model.name not in ("ae", "classifier"):
        raise UserError("networks.decoder.tied=true needs an encoder to mirror: use model=ae, or tied=false.")


def check_batch(batch_size: int, processes: int) -> None:
    """The global batch must divide by the number of processes.

    Raises:
        UserError: naming the nearest batch sizes that do.
    """
    if batch_size % processes:
        below = batch_size // processes * processes
        sizes = " or ".join(str(size) for size in (below, below + processes) if size)
        raise UserError(
            f"dataset.batch_size={batch_size} is the batch over all devices and does not divide by "
            f"{processes} of them: use {sizes}."
        )
