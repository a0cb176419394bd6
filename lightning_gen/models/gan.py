"""The generative adversarial network (Goodfellow et al. 2014), by manual optimization as a list of phases."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer, do_nothing_closure
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.models.base import DecoderFactory, EncoderFactory, GenerativeModel, OptimizerFactory
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.adversarial import NonSaturating
from lightning_gen.objectives.precision import full_precision


class Discriminator(nn.Module):
    """The encoder and a linear head: images [B, C, H, W] in [0, 1] to logits [B]."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.num_features, 1)  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.encoder(2 * images - 1)).squeeze(1)  # [-1, 1] inside, as in DCGAN


@dataclass(frozen=True)
class Phase:
    """One player's update: which optimizer moves, on how many fresh batches in a row, down which loss."""

    name: str
    optimizer: int  # index in configure_optimizers
    repeats: int
    loss: Callable[[Tensor], tuple[Tensor, dict[str, Tensor]]]  # real images -> scalar loss and what to log


class GAN(GenerativeModel):
    """Generator and discriminator in turn: `d_steps` discriminator updates, then one of the generator (algorithm 1).

    The decoder is the generator, with its output through (tanh + 1) / 2; the encoder plus a linear head is the
    discriminator. Each discriminator update takes a fresh real batch and fresh latents. `trainer.global_step`
    counts generator updates.
    """

    shown: ClassVar[dict[str, str]] = {"D": "train/loss_discriminator", "G": "train/loss_generator"}

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        generator_optimizer: OptimizerFactory,
        discriminator_optimizer: OptimizerFactory,
        loss: NonSaturating,
        latent_dim: int = 64,
        d_steps: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed)
        self.automatic_optimization = False
        self.make_optimizers = (generator_optimizer, discriminator_optimizer)
        self.generator = decoder(latent_dim=latent_dim, image_shape=image_shape)
        self.discriminator = Discriminator(encoder(image_shape=image_shape))
        self.loss, self.d_steps, self.batches_per_step = loss, d_steps, d_steps
        self.phases = [
            Phase("discriminator", 1, d_steps, self.discriminator_loss),
            Phase("generator", 0, 1, self.generator_loss),
        ]

    def decode(self, latents: Tensor) -> Tensor:
        return (self.generator(latents).tanh() + 1) / 2

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def fakes(self, count: int) -> Tensor:
        """Generated images [count, C, H, W] from this step's noise."""
        return self.decode(self.noise.normal((count, self.latent_dim), self.device))

    def judge(self, images: Tensor) -> Tensor:
        """The discriminator's logits [B], in full precision."""
        return full_precision(self.discriminator(images))

    def discriminator_loss(self, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.no_grad():
            fake = self.fakes(len(real))
        real_logits, fake_logits = self.judge(real), self.judge(fake)
        loss = self.loss.discriminator(real_logits, fake_logits).mean()
        correct = (real_logits > 0).float().mean() + (fake_logits < 0).float().mean()
        return loss, {
            "train/loss_discriminator": loss.detach(),
            "train/d_real": real_logits.detach().sigmoid().mean(),
            "train/d_fake": fake_logits.detach().sigmoid().mean(),
            "train/d_accuracy": correct / 2,
        }

    def generator_loss(self, real: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss = self.loss.generator(self.judge(self.fakes(len(real)))).mean()
        return loss, {"train/loss_generator": loss.detach()}

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self.count_images(batch)
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        count_only(optimizers, counted=0)
        reals = batch.images.chunk(self.batches_per_step)
        for phase in self.phases:
            for real in reals[: phase.repeats]:
                self.run_phase(phase, optimizers[phase.optimizer], real)

    def run_phase(self, phase: Phase, optimizer: LightningOptimizer, real: Tensor) -> None:
        """One update of one player; the other's parameters are frozen, but pass gradients to the images."""
        with self.toggled_optimizer(optimizer):
            loss, scalars = phase.loss(real)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
        self.scalars = self.scalars | scalars

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        generator, discriminator = self.make_optimizers
        return [generator(self.generator.parameters()), discriminator(self.discriminator.parameters())]


def count_only(optimizers: list[LightningOptimizer], counted: int) -> None:
    """Let `trainer.global_step` count the steps of one optimizer only.

    Lightning counts every optimizer's step in manual optimization, so that max_steps, checkpoints and averages
    would mean something else for each d_steps. It re-arms these hooks before every training step. They are
    private: `test_max_steps_counts_generator_updates` fails if a new version changes them.
    """
    for index, optimizer in enumerate(optimizers):
        if index != counted:
            optimizer._on_before_step = do_nothing_closure
            optimizer._on_after_step = do_nothing_closure
