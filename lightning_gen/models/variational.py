"""The base class of the VAEs: a likelihood, an objective, the training step and the metrics of held-out images."""

from abc import ABC, abstractmethod
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel, OptimizerFactory
from lightning_gen.models.vae_data import check_likelihood, mean_image, set_output_bias
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.bounds import ELBO, Terms
from lightning_gen.objectives.discrete_likelihoods import bits_per_dimension
from lightning_gen.objectives.likelihoods import Likelihood
from lightning_gen.randomness import Noise, StepNoise

OutputBias = Literal["default", "data_mean"]


class VariationalModel(GenerativeModel, ABC):
    """Trains a decoder p(x|z) and an approximate posterior q(z|x) with a bound on log p(x), in nats per image.

    `objective` maps the terms of the bound to the loss. The metrics `elbo`, `reconstruction` and `kl` are those of
    the ELBO, whatever the objective; `loss` is the objective, in training and on held-out images.

    `output_bias`: `default` leaves the decoder's last bias as it is; `data_mean` sets it so that the decoder starts
    from the mean training image (Burda et al. 2016).

    Subclasses set `decoder` and `likelihood` and implement `terms`.

    Raises:
        UserError: an objective that is not from the group `model/objective`.
    """

    can_encode = True
    monitor = ("eval/elbo", "max")
    decoder: nn.Module
    likelihood: Likelihood

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: int,
        optimizer: OptimizerFactory,
        objective: ELBO | None = None,
        output_bias: OutputBias = "default",
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed, num_classes)
        if not isinstance(objective, ELBO | None):
            raise UserError(
                f"model.objective={objective} is not an objective: choose one by name, as in model/objective=iwae."
            )
        self.make_optimizer, self.objective, self.output_bias = optimizer, objective or ELBO(), output_bias
        self.train_size, self.dequantized = 0, False

    def see_data(self, data: ImageDataModule, fresh: bool) -> None:
        check_likelihood(self.likelihood, data)
        if data.batch_size < self.objective.needs_images:
            raise UserError(
                f"model/objective={self.objective.choice} compares the codes of a batch with each other: set "
                f"dataset.batch_size to {self.objective.needs_images} or more."
            )
        self.train_size, self.dequantized = len(data.train), data.batch_transform.dequantize
        if fresh and self.output_bias == "data_mean":
            set_output_bias(self.decoder, self.likelihood.output_of(mean_image(data)))

    # -- the bound -------------------------------------------------------------------------------------------

    @abstractmethod
    def terms(self, batch: Batch, noise: StepNoise) -> Terms:
        """The terms of the objective, from `objective.samples` latents of each image."""

    def prepared(self, batch: Batch, noise: StepNoise) -> Tensor:
        """The images [B, C, H, W] that the likelihood scores: for example, binarized ones."""
        return self.likelihood.prepare(batch.images, lambda shape: noise.uniform(shape, batch.images.device))

    def log_likelihood(self, codes: Tensor, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """log p(x|z) of images [B, C, H, W] and codes [k, B, Z] or [B, Z]: [k, B] or [B], in nats."""
        if codes.ndim == 2:
            return self.likelihood.log_prob(self.decoder(self.labelled(codes, labels)), images)
        repeated = labels.repeat(len(codes)) if labels is not None and self.num_classes else None
        raw = self.decoder(self.labelled(codes.flatten(0, 1), repeated))
        return self.likelihood.log_prob(raw.unflatten(0, codes.shape[:2]), images)

    def simulated(self, codes: Tensor, labels: Tensor | None, noise: Noise) -> Tensor:
        """Images [B, C, H, W] drawn from p(x|z) for codes [B, Z]."""
        return self.likelihood.draw(self.decoder(self.labelled(codes, labels)), noise)

    def parts(self, terms: Terms) -> dict[str, Tensor]:
        """The ELBO and its parts, each [B], in nats, by metric name."""
        kl = terms.kl.sum(dim=1)
        return {"elbo": -terms.reconstruction - kl, "reconstruction": terms.reconstruction, "kl": kl}

    def loss(self, terms: Terms) -> Tensor:
        """The loss that is minimized, of each image: [B], in nats."""
        return self.objective(terms)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.count_images(batch)
        if self.private is not None:
            return self.private_loss(batch)
        terms = self.terms(batch, self.noise)
        loss = self.loss(terms).mean()
        if self.logging:
            with torch.no_grad():
                scalars = {f"train/{name}": part.mean() for name, part in self.parts(terms).items()}
            self.log_scalars(scalars | {"train/loss": loss})
        return loss

    def step_constants(self) -> tuple[Any, ...] | None:
        return None if self.private is not None else self.scheduled_values()

    def image_losses(self, batch: Batch, noise: Noise) -> Tensor:
        return self.loss(self.terms(batch, noise))  # type: ignore[arg-type]

    # -- evaluation ------------------------------------------------------------------------------------------

    @property
    def eight_bit(self) -> bool | None:
        """Whether log p(x) is the log-probability of 8-bit images; false: a log-density of dequantized ones.

        None: neither, so there are no bits per dimension.
        """
        if self.likelihood.discrete:
            return True
        return False if self.dequantized and not self.likelihood.binary else None

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        terms = self.terms(batch, noise)
        metrics = {**self.parts(terms), "loss": self.loss(terms)}
        if self.eight_bit is not None:
            name = "bits_per_dim" if self.eight_bit else "bits_per_dim_dequantized"
            dimensions = batch.images[0].numel()
            metrics[name] = bits_per_dimension(metrics["elbo"], dimensions, density=not self.eight_bit)
        return super().test_metrics(batch, noise) | metrics

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        return {"loss": self.loss(self.terms(batch, noise))}
