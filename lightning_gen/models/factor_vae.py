"""FactorVAE (Kim & Mnih 2018): a VAE that a discriminator of codes drives to independent latents."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.models.adversarial_training import AdversarialModel, Phase
from lightning_gen.models.base import DecoderFactory, EncoderFactory, OptimizerFactory
from lightning_gen.models.vae import VAE, PosteriorFactory, PriorFactory
from lightning_gen.models.variational import OutputBias
from lightning_gen.networks.mlp import perceptron
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.bounds import Terms
from lightning_gen.objectives.likelihoods import Likelihood
from lightning_gen.objectives.posteriors import Diagonal
from lightning_gen.objectives.priors import StandardNormal
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Count, NonNegative


def permuted(codes: Tensor, noise: Noise) -> Tensor:
    """Codes [B, Z] with each dimension permuted over the batch on its own (Kim & Mnih 2018, algorithm 1).

    They are draws from the product of the margins, prod_j q(z_j).
    """
    order = noise.uniform(codes.shape, codes.device).argsort(dim=0)
    return codes.gather(0, order)


class FactorVAE(VAE, AdversarialModel):
    """Minimizes the negative ELBO + gamma TC(z), with the total correlation TC of the aggregated posterior q(z).

    TC = KL(q(z) || prod_j q(z_j)) = E_q[log D(z) / (1 - D(z))], where D, the discriminator, tells codes from permuted
    codes. Its logit is the log density ratio. A step is one update of D with -1/2 (log D(z) + log(1 - D(z'))), then
    one of the VAE. The permuted codes z' are those of the same batch, as in disentanglement_lib; the paper takes a
    second batch. Source: Kim & Mnih 2018, eq. 2 and 3, algorithm 2; their two logits are one here, which is their
    difference.

    Args:
        discriminator_optimizer: the optimizer of D.
        gamma: the weight of the total correlation.
        widths: the units of D's hidden layers.

    Raises:
        UserError: parts that cannot be combined, see `VAE`, or batches of one image.
    """

    shown: ClassVar[dict[str, str]] = {"elbo": "train/elbo", "tc": "train/total_correlation"}

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        discriminator_optimizer: OptimizerFactory,
        likelihood: Likelihood,
        posterior: PosteriorFactory = Diagonal,
        prior: PriorFactory = StandardNormal,
        latent_dim: Count = 10,
        gamma: NonNegative = 35.0,
        widths: Sequence[Count] = (1000,) * 6,
        output_bias: OutputBias = "default",
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(
            image_shape,
            encoder,
            decoder,
            optimizer,
            likelihood,
            posterior,
            prior,
            None,
            latent_dim,
            output_bias,
            num_classes,
            seed,
        )
        self.gamma = gamma
        modules = tuple(self.children())
        self.discriminator = perceptron([latent_dim, *widths, 1], "leaky_relu")
        self.play(
            Phase("discriminator", (self.discriminator,), discriminator_optimizer, self.discriminator_loss),
            Phase("vae", modules, optimizer, self.vae_loss),
        )

    def see_data(self, data: ImageDataModule, fresh: bool) -> None:
        super().see_data(data, fresh)
        if data.batch_size < 2:
            raise UserError("model=factor_vae permutes the codes of a batch: set dataset.batch_size to 2 or more.")

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {name: module for name, module in super().averaged_modules().items() if name != "discriminator"}

    def log_ratio(self, codes: Tensor) -> Tensor:
        """The estimate of log q(z) - sum_j log q(z_j) at codes [B, Z]: [B], in nats."""
        return full_precision(self.discriminator(codes)).squeeze(1)

    def loss(self, terms: Terms) -> Tensor:
        return super().loss(terms) + self.gamma * self.log_ratio(terms.latents[0])

    # -- training --------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:  # type: ignore[override]
        return AdversarialModel.training_step(self, batch, batch_idx)

    def discriminator_loss(self, batch: Batch, index: int) -> Tensor:
        """The discriminator's cross entropy, a scalar."""
        with torch.no_grad():
            q = self.posterior_of(self.prepared(batch, self.noise), batch.labels)
            epsilon = self.noise.normal((len(batch.images), self.latent_dim), self.device)
            codes = q.draw(epsilon.unsqueeze(0))[0][0]
        logits, others = self.log_ratio(codes), self.log_ratio(permuted(codes, self.noise))
        loss = 0.5 * (F.softplus(-logits) + F.softplus(others)).mean()
        self.log_scalars({"train/loss_discriminator": loss})
        return loss

    def vae_loss(self, batch: Batch, index: int) -> Tensor:
        """The negative ELBO plus gamma times the estimated total correlation, a scalar."""
        terms = self.terms(batch, self.noise)
        loss = self.loss(terms).mean()
        with torch.no_grad():
            scalars = {f"train/{name}": part.mean() for name, part in self.parts(terms).items()}
            scalars["train/total_correlation"] = self.log_ratio(terms.latents[0]).mean()
        self.log_scalars(scalars | {"train/loss": loss})
        return loss
