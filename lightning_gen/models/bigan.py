"""BiGAN (Donahue et al. 2017; ALI, Dumoulin et al. 2017): a GAN that learns to invert its generator."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.adversarial_training import AdversarialModel, Phase
from lightning_gen.models.base import DecoderFactory, EncoderFactory, OptimizerFactory
from lightning_gen.models.gan import OUTPUTS, Output
from lightning_gen.models.mode_collapse import collapse
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.objectives.penalties import DiscriminatorPass, Penalty
from lightning_gen.randomness import StepNoise
from lightning_gen.ranges import Count


class PairDiscriminator(nn.Module):
    """Maps pairs of an image and a code, each as one row [B, C H W + Z], to logits [B].

    The features of the image and those of the code meet in a layer of `hidden` units.
    """

    def __init__(self, encoder: nn.Module, image_shape: ImageShape, latent_dim: int, hidden: int) -> None:
        super().__init__()
        self.image_shape, self.latent_dim, self.encoder = image_shape, latent_dim, encoder
        self.code = nn.Sequential(nn.Linear(latent_dim, hidden), nn.LeakyReLU(0.2))
        features: int = encoder.num_features  # type: ignore[assignment]
        self.joint = nn.Sequential(nn.Linear(features + hidden, hidden), nn.LeakyReLU(0.2), nn.Linear(hidden, 1))

    def forward(self, pairs: Tensor) -> Tensor:
        images, codes = pairs[:, : -self.latent_dim], pairs[:, -self.latent_dim :]
        seen = full_precision(self.encoder(images.unflatten(1, self.image_shape)))
        both = torch.cat([seen, full_precision(self.code(codes))], dim=1)
        return full_precision(self.joint(both)).squeeze(1)


def pair(images: Tensor, codes: Tensor) -> Tensor:
    """One row [B, C H W + Z] for each image [B, C, H, W] in [0, 1], scaled to [-1, 1], and its code [B, Z]."""
    return torch.cat([(2 * images - 1).flatten(1), codes], dim=1)


class BiGAN(AdversarialModel):
    """Trains a generator, an encoder, and a discriminator of pairs (Donahue et al. 2017, eq. 1 and sec. 3.4).

    The discriminator tells (x, E(x)) of real images from (G(z), z). Generator and encoder share an update in which
    each wants its pairs to be taken for the other's; at the optimum, E inverts G on its images (their theorem 2). A
    step is `d_steps` updates of the discriminator, each with a new real batch and new codes, and then one update of
    generator and encoder.

    Args:
        loss: the losses of both sides, see `AdversarialLoss.inverse`.
        penalty: penalties on the discriminator, by name. Its inputs are pairs of an image in [-1, 1] and a code.
        latent_dim: numbers in a code; the prior is N(0, I).
        hidden: units of the discriminator's layers on codes and on pairs.
        output: from the decoder's raw output to images: `tanh`, `sigmoid` or `linear`.

    Raises:
        UserError: a penalty that works on images only.
    """

    can_encode = True
    normal_prior = True
    not_fused = "model.generator_optimizer.fused=false"
    shown: ClassVar[dict[str, str]] = {"D": "train/loss_discriminator", "G": "train/loss_generator"}

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        generator_optimizer: OptimizerFactory,
        discriminator_optimizer: OptimizerFactory,
        loss: AdversarialLoss,
        penalty: dict[str, Penalty] | None = None,
        latent_dim: Count = 50,
        hidden: Count = 256,
        d_steps: Count = 1,
        output: Output = "tanh",
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed, penalty=penalty)
        self.loss, self.to_image = loss, OUTPUTS[output]
        self.generator = decoder(latent_dim=latent_dim, image_shape=image_shape)
        self.encoder = encoder(image_shape=image_shape)
        self.code = nn.Linear(self.encoder.num_features, latent_dim)  # type: ignore[arg-type]
        self.discriminator = PairDiscriminator(encoder(image_shape=image_shape), image_shape, latent_dim, hidden)
        modules = (self.generator, self.encoder, self.code)
        self.play(
            self.discriminator_phase(self.discriminator, discriminator_optimizer, self.discriminator_loss, d_steps),
            Phase("generator", modules, generator_optimizer, self.generator_loss),
        )
        for name, chosen in self.penalty.items():
            if chosen.images_only:
                raise UserError(
                    f"model/penalty={name} works on images, but the discriminator of model=bigan gets pairs: omit it."
                )

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return full_precision(self.code(self.encoder(2 * images - 1)))  # [B, Z]

    def decode(self, latents: Tensor) -> Tensor:
        return self.generate(latents).clamp(0, 1)

    def generate(self, latents: Tensor) -> Tensor:
        """Images from latents, as the discriminator gets them: a linear output may leave [0, 1]."""
        return self.to_image(full_precision(self.generator(latents)))

    def spectral_modules(self) -> list[nn.Module]:
        return [self.discriminator]

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator, "encoder": self.encoder, "code": self.code}

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        """Also `logits` of pairs (x, E(x)), and `logits_fake` of as many pairs (G(z), z)."""
        codes = noise.normal((len(batch.images), self.latent_dim), self.device).to(batch.images)
        fakes = self.discriminator(pair(self.generate(codes), codes))
        return super().test_metrics(batch, noise) | self.overfitting_metrics(batch, noise) | {"logits_fake": fakes}

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        return {"logits": self.discriminator_logits(batch.images)}

    def complaints(self, metrics: dict[str, float]) -> list[str]:
        return collapse(metrics, stop=False)

    def discriminator_logits(self, images: Tensor) -> Tensor:
        return self.discriminator(pair(images, self.encode(images)))

    # -- training --------------------------------------------------------------------------------------------

    def pairs(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(x, E(x)) of real images, and as many (G(z), z) with this step's noise, each [B, C H W + Z]."""
        codes = self.noise.normal((len(images), self.latent_dim), self.device).to(images.dtype)
        return pair(images, self.encode(images)), pair(self.generate(codes), codes)

    def discriminator_loss(self, batch: Batch, index: int) -> Tensor:
        """The discriminator's loss and its penalties, a scalar."""
        with torch.no_grad():
            real, fake = self.pairs(batch.images)
        real_logits, fake_logits = self.discriminator(real), self.discriminator(fake)
        loss = self.loss.discriminator(real_logits, fake_logits).mean()
        self.log_scalars({"train/loss_discriminator": loss})
        self.log_scalars(self.loss.diagnostics(real_logits.detach(), fake_logits.detach()))
        seen = DiscriminatorPass(
            real=real,
            fake=fake,
            real_logits=real_logits,
            fake_logits=fake_logits,
            judge=self.discriminator,
            discriminator=self.discriminator,
            noise=self.noise,
            input_scale=1.0,
        )
        return self.penalized(loss, seen, index)

    def generator_loss(self, batch: Batch, index: int) -> Tensor:
        """The loss of generator and encoder, a scalar."""
        real, fake = self.pairs(batch.images)
        loss = self.loss.inverse(self.discriminator(real), self.discriminator(fake)).mean()
        self.log_scalars({"train/loss_generator": loss})
        return loss
