"""VQ-GAN (Esser et al. 2021): a VQ-VAE whose reconstructions a patch discriminator judges."""

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.models.adversarial_training import AdversarialModel, Phase
from lightning_gen.models.base import DecoderFactory, EncoderFactory, OptimizerFactory
from lightning_gen.models.codebook import Codebook
from lightning_gen.models.quantizers import FSQ, ResidualQuantizer
from lightning_gen.models.vqvae import VQVAE
from lightning_gen.networks.patch import PatchDiscriminator
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.networks.transformer import CodeTransformer
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.randomness import StepNoise
from lightning_gen.ranges import Count, Natural, NonNegative

LARGEST = 1e4  # limit of the adaptive weight, as in the authors' code


class VQGAN(VQVAE, AdversarialModel):
    """Minimizes the loss of `VQVAE` + weight lambda L_GAN of the reconstructions, then -log p(c) of the codes c.

    lambda = |dL_rec / dG| / (|dL_GAN / dG| + 1e-4), with the gradients for the weights G of the decoder's last layer,
    so that both terms move it equally (Esser et al. 2021, eq. 7). L_GAN is a mean over patches. A step of the first
    stage is one update of the discriminator, on images and their reconstructions, and one of the autoencoder; the
    authors update them in the other order. L_rec is the squared error; theirs adds a perceptual distance, which needs
    the weights of a trained network.

    Args:
        loss: the adversarial loss; the paper has `hinge`.
        discriminator_optimizer: the optimizer of the discriminator.
        discriminator_width: the channels of the discriminator's first layer.
        discriminator_layers: how often it halves an image, at most.
        discriminator_weight: the weight of lambda L_GAN.
        discriminator_start: the step from which the discriminator plays.
    """

    shown: ClassVar[dict[str, str]] = {"loss": "train/loss", "D": "train/loss_discriminator"}

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        discriminator_optimizer: OptimizerFactory,
        loss: AdversarialLoss,
        quantizer: Callable[[], Codebook | FSQ | ResidualQuantizer],
        prior: Callable[..., CodeTransformer],
        prior_steps: NonNegative = 0.4,
        discriminator_width: Count = 64,
        discriminator_layers: Count = 3,
        discriminator_weight: NonNegative = 0.8,
        discriminator_start: Natural = 0,
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, encoder, decoder, optimizer, quantizer, prior, prior_steps, num_classes, seed)
        self.loss = loss
        self.discriminator_weight, self.discriminator_start = discriminator_weight, discriminator_start
        modules = tuple(self.children())
        self.discriminator = PatchDiscriminator(image_shape, discriminator_width, discriminator_layers)
        self.play(
            Phase("discriminator", (self.discriminator,), discriminator_optimizer, self.discriminator_loss),
            Phase("autoencoder", modules, optimizer, self.autoencoder_loss),
        )

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {name: module for name, module in super().averaged_modules().items() if name != "discriminator"}

    def networks(self) -> list[nn.Module]:
        return []  # the adaptive weight differentiates the decoder three times in a step

    def spectral_modules(self) -> list[nn.Module]:
        return [self.discriminator]

    # -- evaluation ------------------------------------------------------------------------------------------

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        """Also `logits`, and `logits_fake` of reconstructions, each the mean over patches."""
        fakes = self.discriminator_logits(self.reconstruct(batch.images, batch.labels))
        logits = {"logits": self.discriminator_logits(batch.images), "logits_fake": fakes}
        return super().test_metrics(batch, noise) | logits

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        return super().overfitting_metrics(batch, noise) | {"logits": self.discriminator_logits(batch.images)}

    # -- training --------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:  # type: ignore[override]
        return AdversarialModel.training_step(self, batch, batch_idx)

    @property
    def judged(self) -> bool:
        """Whether the discriminator plays in this step."""
        return self.discriminator_start <= self.step < self.prior_starts

    def plays(self, phase: Phase) -> bool:
        return phase.name != "discriminator" or self.judged

    def logits(self, images: Tensor) -> Tensor:
        """The logits of all patches [N] of images [B, C, H, W] in [0, 1]."""
        return full_precision(self.discriminator(2 * images - 1)).flatten()

    def discriminator_logits(self, images: Tensor) -> Tensor:
        return self.logits(images).view(len(images), -1).mean(dim=1)  # over patches

    def discriminator_loss(self, batch: Batch, index: int) -> Tensor:
        """The discriminator's loss on images and their reconstructions, a scalar."""
        fakes = self.reconstruct(batch.images, batch.labels)
        loss = self.loss.discriminator(self.logits(batch.images), self.logits(fakes)).mean()
        self.log_scalars({"train/loss_discriminator": loss})
        return loss

    def autoencoder_loss(self, batch: Batch, index: int) -> Tensor:
        """The loss of the autoencoder, or of the prior in the second stage, a scalar."""
        return self.stage_loss(batch)

    def first_stage(self, images: Tensor) -> Tensor:
        raw, error, loss = self.quantized_error(images)
        if not self.judged:
            return loss
        with torch.no_grad():
            real = self.logits(images)
        fooling = self.loss.generator(self.logits(full_precision(raw).sigmoid()), real).mean()
        adaptive = self.adaptive_weight(error, fooling)
        self.log_scalars({"train/loss_decoder": fooling, "train/adaptive_weight": adaptive})
        return loss + self.discriminator_weight * adaptive * fooling

    def adaptive_weight(self, error: Tensor, fooling: Tensor) -> Tensor:
        """lambda, a scalar without a gradient."""
        last = [module for module in self.decoder.modules() if isinstance(module, nn.ConvTranspose2d)][-1].weight
        norms = [torch.autograd.grad(term, last, retain_graph=True)[0].float().norm() for term in (error, fooling)]
        return (norms[0] / (norms[1] + 1e-4)).clamp(0.0, LARGEST).detach()
