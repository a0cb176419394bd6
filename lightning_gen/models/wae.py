"""The Wasserstein autoencoder (Tolstikhin et al. 2018), with either divergence: MMD or adversarial."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.models.adversarial_training import AdversarialModel, Phase
from lightning_gen.models.base import DecoderFactory, EncoderFactory, OptimizerFactory
from lightning_gen.networks.conditioning import conditional_decoder
from lightning_gen.networks.mlp import perceptron
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.objectives.divergences import MMD
from lightning_gen.objectives.penalties import DiscriminatorPass, Penalty
from lightning_gen.objectives.reconstruction import squared_error
from lightning_gen.randomness import StepNoise
from lightning_gen.ranges import Count, NonNegative


class LatentAdversary(nn.Module):
    """A discriminator between codes and draws from the prior (Tolstikhin et al. 2018, algorithm 1).

    Args:
        weight: lambda, the weight of the divergence in the autoencoder's loss.
        widths: the units of the hidden layers.
        loss: an adversarial loss, in which draws from the prior are real and codes are fake.
    """

    def __init__(
        self,
        latent_dim: int,
        weight: NonNegative,
        widths: Sequence[Count],
        loss: AdversarialLoss,
        optimizer: OptimizerFactory,
    ) -> None:
        super().__init__()
        self.weight, self.loss, self.make_optimizer = weight, loss, optimizer
        self.net = perceptron([latent_dim, *widths, 1], "relu")

    def forward(self, codes: Tensor) -> Tensor:
        """Logits [B] of codes [B, Z], in full precision."""
        return full_precision(self.net(codes)).squeeze(1)

    def penalty(self, codes: Tensor, prior: Tensor) -> Tensor:
        """The adversarial loss of the encoder, a scalar, without the weight."""
        return self.loss.generator(self(codes), self(prior)).mean()


class PairedBatch(NamedTuple):
    """A batch, and the same number of draws from the prior."""

    images: Tensor  # [B, C, H, W] in [0, 1]
    labels: Tensor | None  # int64 [B]
    prior: Tensor  # [B, Z]


class WAE(AdversarialModel):
    """Minimizes ||x - G(E(x))||^2 + lambda D(q(z), p(z)), with a deterministic encoder and p(z) = N(0, I).

    The squared error is summed over pixels and averaged over images; reconstructions are the sigmoid of the decoder's
    output. The divergence D compares the codes of a batch with the same number of draws from the prior. It is `MMD`,
    or the loss against a `LatentAdversary`, which is updated first, before the autoencoder, on the same batch. In a
    conditional model only the decoder gets the class. Source: Tolstikhin et al. 2018, eq. 4, algorithms 1 and 2.

    Args:
        divergence: builds the divergence.
        penalty: penalties on the discriminator of codes, by name. Its real inputs are draws from the prior.

    Raises:
        UserError: a penalty without a discriminator, or one that works on images only.
    """

    can_encode = True
    normal_prior = True
    monitor = ("eval/reconstruction_mse", "min")

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        divergence: Callable[..., MMD | LatentAdversary],
        penalty: dict[str, Penalty] | None = None,
        latent_dim: Count = 16,
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed, num_classes, penalty)
        self.encoder = encoder(image_shape=image_shape)
        self.code = nn.Linear(self.encoder.num_features, latent_dim)  # type: ignore[arg-type]
        self.decoder = conditional_decoder(decoder, latent_dim, num_classes, image_shape)
        self.divergence = divergence(latent_dim=latent_dim)
        modules, adversary = (self.encoder, self.code, self.decoder), self.divergence
        autoencoder = Phase("autoencoder", modules, optimizer, self.autoencoder_loss)
        if isinstance(adversary, LatentAdversary):
            optimizer, loss = adversary.make_optimizer, self.discriminator_loss
            self.play(self.discriminator_phase(adversary, optimizer, loss), autoencoder)
        else:
            self.play(autoencoder)
        for name, chosen in self.penalty.items():
            if self.automatic_optimization:
                raise UserError(f"model/penalty={name} needs a discriminator: set model/divergence=gan.")
            if chosen.images_only:
                raise UserError(
                    f"model/penalty={name} works on images, but the discriminator of model=wae gets codes: omit it."
                )

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return full_precision(self.code(self.encoder(images)))  # [B, Z]

    def networks(self) -> list[nn.Module]:
        return [self.encoder, self.decoder]

    def decode(self, latents: Tensor) -> Tensor:
        return full_precision(self.decoder(latents)).sigmoid()

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "code": self.code, "decoder": self.decoder}

    def see_data(self, data: ImageDataModule, fresh: bool) -> None:
        super().see_data(data, fresh)
        if isinstance(self.divergence, MMD) and data.batch_size < 2:
            raise UserError(
                "model/divergence=mmd compares the codes of a batch with each other: set dataset.batch_size to 2 or "
                "more."
            )

    # -- evaluation ------------------------------------------------------------------------------------------

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        return super().test_metrics(batch, noise) | self.overfitting_metrics(batch, noise)

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        prior = noise.normal((len(batch.images), self.latent_dim), self.device).to(batch.images)
        error, divergence = self.terms(PairedBatch(*batch, prior))
        return {"loss": error + self.divergence.weight * divergence}

    # -- training --------------------------------------------------------------------------------------------

    def drawn(self, batch: Batch) -> PairedBatch:
        return PairedBatch(*batch, self.noise.normal((len(batch.images), self.latent_dim), self.device))

    def autoencoder_loss(self, batch: PairedBatch, index: int) -> Tensor:
        """The reconstruction error plus the weighted divergence, a scalar."""
        errors, divergence = self.terms(batch)
        error = errors.mean()
        loss = error + self.divergence.weight * divergence
        self.log_scalars({"train/loss": loss, "train/reconstruction": error, "train/divergence": divergence})
        return loss

    def terms(self, batch: PairedBatch) -> tuple[Tensor, Tensor]:
        """The reconstruction errors [B], and the divergence of their codes, a scalar without its weight."""
        codes = self.encode(batch.images)
        errors = squared_error(self.decoder(self.labelled(codes, batch.labels)), batch.images)
        return errors, self.divergence.penalty(codes, batch.prior)

    def discriminator_loss(self, batch: PairedBatch, index: int) -> Tensor:
        """The loss of the discriminator of codes plus its penalties, a scalar."""
        adversary = self.divergence
        assert isinstance(adversary, LatentAdversary)
        with torch.no_grad():
            codes = self.encode(batch.images)
        real_logits, fake_logits = adversary(batch.prior), adversary(codes)
        loss = adversary.loss.discriminator(real_logits, fake_logits).mean()
        self.log_scalars({"train/loss_discriminator": loss})
        seen = DiscriminatorPass(
            real=batch.prior,
            fake=codes,
            real_logits=real_logits,
            fake_logits=fake_logits,
            judge=adversary,
            discriminator=adversary,
            noise=self.noise,
            input_scale=1.0,
        )
        return self.penalized(loss, seen, index)
