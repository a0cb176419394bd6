"""The VAE/GAN (Larsen et al. 2016): a VAE whose reconstruction error is measured in a discriminator's features."""

from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.models.adversarial_training import AdversarialModel, Phase
from lightning_gen.models.base import DecoderFactory, EncoderFactory, OptimizerFactory
from lightning_gen.networks.conditioning import conditional_decoder
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.objectives.penalties import DiscriminatorPass, Penalty
from lightning_gen.objectives.posteriors import Diagonal, DiagonalGaussian
from lightning_gen.randomness import StepNoise
from lightning_gen.ranges import Count, NonNegative


class Critic(nn.Module):
    """The discriminator: an encoder and a linear head.

    Maps images [B, C, H, W] in [0, 1] to logits [B] and features [B, F].
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.num_features, 1)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(2 * images - 1)  # to [-1, 1], as in DCGAN
        return full_precision(self.head(features)).squeeze(1), full_precision(features)


class NoisyBatch(NamedTuple):
    """A batch with the random numbers that all updates of a step share."""

    images: Tensor  # [B, C, H, W] in [0, 1]
    labels: Tensor | None  # int64 [B]
    epsilon: Tensor  # [B, Z], the noise for draws from q(z|x)
    prior: Tensor  # [B, Z], draws from N(0, I)


class VAEGAN(AdversarialModel):
    """Trains an encoder, a decoder and a discriminator, each with its own loss (Larsen et al. 2016, algorithm 1).

    x' = Dec(z) with z ~ q(z|x) is a reconstruction, and x_p = Dec(z_p) with z_p ~ N(0, I) a sample. The feature error
    l = |Dis_l(x) - Dis_l(x')|^2 / 2 is summed over the features of the discriminator's last hidden layer, in nats per
    image. A step is one update of each player, in this order:

    - the discriminator minimizes its adversarial loss, with x' and x_p in equal parts as generated images;
    - the encoder minimizes l + KL(q(z|x) || N(0, I));
    - the decoder minimizes `feature_weight` l + its adversarial loss.

    In a conditional model only the decoder gets the class.

    Args:
        loss: the adversarial losses of the discriminator and of the decoder.
        penalty: penalties on the discriminator, by name. Their generated images are x' or x_p, with equal chance.
        feature_weight: the weight of the feature error in the decoder's loss.
    """

    can_encode = True
    normal_prior = True
    shown: ClassVar[dict[str, str]] = {"D": "train/loss_discriminator", "l": "train/feature_error"}

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        discriminator_optimizer: OptimizerFactory,
        loss: AdversarialLoss,
        penalty: dict[str, Penalty] | None = None,
        latent_dim: Count = 16,
        feature_weight: NonNegative = 0.01,
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed, num_classes, penalty)
        self.loss, self.feature_weight = loss, feature_weight
        network = encoder(image_shape=image_shape)
        self.encoder = nn.Sequential(network, Diagonal(network.num_features, latent_dim))  # type: ignore[arg-type]
        self.decoder = conditional_decoder(decoder, latent_dim, num_classes, image_shape)
        self.discriminator = Critic(encoder(image_shape=image_shape))
        self.play(
            self.discriminator_phase(self.discriminator, discriminator_optimizer, self.discriminator_loss),
            Phase("encoder", (self.encoder,), optimizer, self.encoder_loss),
            Phase("decoder", (self.decoder,), optimizer, self.decoder_loss),
        )

    def posterior_of(self, images: Tensor) -> DiagonalGaussian:
        """q(z|x)."""
        return self.encoder(images)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.posterior_of(images).mean

    def decode(self, latents: Tensor) -> Tensor:
        return full_precision(self.decoder(latents)).sigmoid()

    def spectral_modules(self) -> list[nn.Module]:
        return [self.discriminator]

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {"encoder": self.encoder, "decoder": self.decoder}

    def discriminator_logits(self, images: Tensor) -> Tensor:
        return self.discriminator(images)[0]

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        q = self.posterior_of(batch.images)
        images = self.decode(self.labelled(q.mean, batch.labels))
        error = self.feature_error(self.discriminator(batch.images)[1], images)
        kl = q.standard_normal_kl().sum(dim=1)
        prior = noise.normal((len(images), self.latent_dim), self.device).to(images)
        fakes = self.decode(self.labelled(prior, batch.labels))
        logits = self.overfitting_metrics(batch, noise) | {"logits_fake": self.discriminator_logits(fakes)}
        return super().test_metrics(batch, noise) | {"feature_error": error, "kl": kl} | logits

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        return {"logits": self.discriminator_logits(batch.images)}

    # -- training --------------------------------------------------------------------------------------------

    def feature_error(self, features: Tensor, images: Tensor) -> Tensor:
        """-log N(Dis_l(x); Dis_l(x'), I) without its constant, from Dis_l(x) [B, F] and x': [B], in nats."""
        return 0.5 * (features - self.discriminator(images)[1]).square().sum(dim=1)

    def drawn(self, batch: Batch) -> NoisyBatch:
        shape = (len(batch.images), self.latent_dim)
        return NoisyBatch(*batch, self.noise.normal(shape, self.device), self.noise.normal(shape, self.device))

    def fakes(self, batch: NoisyBatch) -> tuple[Tensor, Tensor]:
        """Reconstructions and samples, each [B, C, H, W], with a gradient to the decoder only."""
        with torch.no_grad():
            codes, _ = self.posterior_of(batch.images).draw(batch.epsilon)
        return self.decode(self.labelled(codes, batch.labels)), self.decode(self.labelled(batch.prior, batch.labels))

    def discriminator_loss(self, batch: NoisyBatch, index: int) -> Tensor:
        """The discriminator's loss plus its penalties, a scalar."""
        with torch.no_grad():
            fakes = self.fakes(batch)
        real = self.discriminator(batch.images)[0]
        reconstructed, sampled = (self.discriminator(fake)[0] for fake in fakes)
        losses = [self.loss.discriminator(real, logits).mean() for logits in (reconstructed, sampled)]
        loss = (losses[0] + losses[1]) / 2
        self.log_scalars({"train/loss_discriminator": loss})
        if not self.penalty:
            return loss
        coin = self.noise.uniform((len(real),), self.device) < 0.5
        seen = DiscriminatorPass(
            real=batch.images,
            fake=torch.where(coin[:, None, None, None], *fakes),
            real_logits=real,
            fake_logits=torch.where(coin, reconstructed, sampled),
            judge=lambda images: self.discriminator(images)[0],
            discriminator=self.discriminator,
            noise=self.noise,
        )
        return self.penalized(loss, seen, index)

    def encoder_loss(self, batch: NoisyBatch, index: int) -> Tensor:
        """The feature error plus the KL, a scalar."""
        q = self.posterior_of(batch.images)
        codes, _ = q.draw(batch.epsilon)
        kl = q.standard_normal_kl().sum(dim=1).mean()
        with torch.no_grad():
            features = self.discriminator(batch.images)[1]
        error = self.feature_error(features, self.decode(self.labelled(codes, batch.labels))).mean()
        self.log_scalars({"train/feature_error": error, "train/kl": kl})
        return error + kl

    def decoder_loss(self, batch: NoisyBatch, index: int) -> Tensor:
        """The weighted feature error plus the adversarial loss, a scalar."""
        reconstructions, samples = self.fakes(batch)
        with torch.no_grad():
            real, wanted = self.discriminator(batch.images)
        logits, features = self.discriminator(reconstructions)
        error = 0.5 * (wanted - features).square().sum(dim=1).mean()
        both = torch.cat([logits, self.discriminator(samples)[0]])
        fooling = self.loss.generator(both, torch.cat([real, real])).mean()
        self.log_scalars({"train/loss_decoder": fooling})
        return self.feature_weight * error + fooling
