"""The Wasserstein autoencoder (Tolstikhin et al. 2018), with either of its two divergences."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.models.adversarial_training import count_only, update
from lightning_gen.models.base import DecoderFactory, EncoderFactory, GenerativeModel, OptimizerFactory
from lightning_gen.networks.conditioning import conditional_decoder
from lightning_gen.networks.mlp import perceptron
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.objectives.divergences import MMD
from lightning_gen.objectives.reconstruction import squared_error


class LatentAdversary(nn.Module):
    """A discriminator of codes: it tells the prior's draws from the encoder's (Tolstikhin et al. 2018, algorithm 1).

    `loss`: a pair of losses of `objectives/adversarial`; prior draws are its real ones. `weight`: lambda.
    """

    def __init__(
        self,
        latent_dim: int,
        weight: float,
        widths: Sequence[int],
        loss: AdversarialLoss,
        optimizer: OptimizerFactory,
    ) -> None:
        super().__init__()
        self.weight, self.loss, self.make_optimizer = weight, loss, optimizer
        self.net = perceptron([latent_dim, *widths, 1], "relu")

    def forward(self, codes: Tensor) -> Tensor:
        """Logits [B] of codes [B, Z], in full precision."""
        return full_precision(self.net(codes)).squeeze(1)

    def discriminator_loss(self, codes: Tensor, prior: Tensor) -> Tensor:
        """What the discriminator minimizes, a scalar."""
        return self.loss.discriminator(self(prior), self(codes)).mean()

    def penalty(self, codes: Tensor, prior: Tensor) -> Tensor:
        """What the encoder minimizes, unweighted, a scalar."""
        return self.loss.generator(self(codes), self(prior)).mean()


class WAE(GenerativeModel):
    """Minimizes ||x - G(E(x))||^2 + lambda D(q(z), p(z)), with a deterministic encoder and p(z) = N(0, I).

    The squared error is summed over pixels and averaged over images; the reconstruction is a sigmoid of the decoder's
    output. The divergence D is between the codes of a batch and as many draws from the prior: `MMD`, or the
    loss against a `LatentAdversary`, by manual optimization: its update first, then the autoencoder's on the same
    batch. Where it is conditioned on classes, its decoder is. Source: Tolstikhin et al. 2018, eq. 4, algorithms 1, 2.
    """

    can_encode = True
    monitor = ("eval/reconstruction_mse", "min")

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        divergence: Callable[..., MMD | LatentAdversary],
        latent_dim: int = 16,
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed, num_classes)
        self.make_optimizer = optimizer
        self.encoder = encoder(image_shape=image_shape)
        self.code = nn.Linear(self.encoder.num_features, latent_dim)  # type: ignore[arg-type]
        self.decoder = conditional_decoder(decoder, latent_dim, num_classes, image_shape)
        self.divergence = divergence(latent_dim=latent_dim)
        self.automatic_optimization = isinstance(self.divergence, MMD)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return full_precision(self.code(self.encoder(images)))  # [B, Z]

    def decode(self, latents: Tensor) -> Tensor:
        return full_precision(self.decoder(latents)).sigmoid()

    def autoencoder(self) -> dict[str, nn.Module]:
        """The modules of the encoder and of the decoder."""
        return {"encoder": self.encoder, "code": self.code, "decoder": self.decoder}

    def averaged_modules(self) -> dict[str, nn.Module]:
        return self.autoencoder()

    def test_metrics(self, batch: Batch, noise: object) -> dict[str, Tensor]:
        latents = self.labelled(self.encode(batch.images), batch.labels)
        error = squared_error(self.decoder(latents), batch.images)
        return {"squared_error": error, "reconstruction_mse": error / batch.images[0].numel()}

    # -- training --------------------------------------------------------------------------------------------

    def autoencoder_loss(self, batch: Batch, prior: Tensor) -> Tensor:
        """Reconstruction error and weighted divergence, a scalar."""
        codes = self.encode(batch.images)
        error = squared_error(self.decoder(self.labelled(codes, batch.labels)), batch.images).mean()
        divergence = self.divergence.penalty(codes, prior)
        loss = error + self.divergence.weight * divergence
        self.log_scalars({"train/loss": loss, "train/reconstruction": error, "train/divergence": divergence})
        return loss

    def discriminator_loss(self, batch: Batch, prior: Tensor) -> Tensor:
        """The loss of the discriminator of codes, a scalar."""
        assert isinstance(self.divergence, LatentAdversary)
        with torch.no_grad():
            codes = self.encode(batch.images)
        loss = self.divergence.discriminator_loss(codes, prior)
        self.log_scalars({"train/loss_discriminator": loss})
        return loss

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        self.count_images(batch)
        prior = self.noise.normal((len(batch.images), self.latent_dim), self.device)
        if self.automatic_optimization:
            return self.autoencoder_loss(batch, prior)
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        count_only(optimizers, counted=0)
        autoencoder, discriminator = optimizers
        update(self, "discriminator", discriminator, [partial(self.discriminator_loss, batch, prior)])
        update(self, "autoencoder", autoencoder, [partial(self.autoencoder_loss, batch, prior)])
        return None

    def configure_optimizers(self) -> torch.optim.Optimizer | list[torch.optim.Optimizer]:
        autoencoder = [p for module in self.autoencoder().values() for p in module.parameters()]
        optimizer = self.make_optimizer(autoencoder)
        if isinstance(self.divergence, LatentAdversary):
            return [optimizer, self.divergence.make_optimizer(self.divergence.parameters())]
        return optimizer
