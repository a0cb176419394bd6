"""The generative adversarial network (Goodfellow et al. 2014), by manual optimization as a list of phases."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, cast

import torch
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models import adversarial_training as adversarial
from lightning_gen.models.base import DecoderFactory, EncoderFactory, GenerativeModel, OptimizerFactory, Picture
from lightning_gen.models.discriminator import Discriminator, field
from lightning_gen.models.latent_prior import check_prior, draw_codes
from lightning_gen.networks.conditioning import conditional_decoder
from lightning_gen.networks.precision import full_precision, no_autocast
from lightning_gen.networks.shapes import POINTS, ImageShape
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.objectives.augmentation import check_augmentation
from lightning_gen.objectives.penalties import Pass, Penalty
from lightning_gen.pictures import scatter
from lightning_gen.randomness import GeneratorNoise

OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": lambda raw: (raw.tanh() + 1) / 2,
    "sigmoid": torch.sigmoid,
    "linear": lambda raw: (raw + 1) / 2,  # unbounded, as in StyleGAN2: only what is shown is clamped
}
Scalars = dict[str, Tensor]


@dataclass(frozen=True)
class Phase:
    """One player's update: which optimizer moves, on how many fresh batches in a row, down which loss."""

    name: str
    optimizer: int  # index in configure_optimizers
    repeats: int
    loss: Callable[[Batch, int], tuple[Tensor, Scalars]]  # real images, index of the update -> loss, what to log


class GAN(GenerativeModel):
    """Generator and discriminator in turn: `d_steps` discriminator updates, then one of the generator (algorithm 1).

    The decoder is the generator; the encoder with a linear head is the discriminator. Each discriminator update takes
    a fresh real batch and fresh codes. `trainer.global_step` counts generator updates.

    Args:
        loss: the two players' losses.
        penalty: penalties on the discriminator by name, any number.
        augment: changes what the discriminator sees, real and generated alike.
        latent_prior: `normal`, `uniform` or `truncated`.
        generator_batch_size: generated images in a generator update, over all devices; None: as many as real ones.
        one_pass: the discriminator sees real and generated images in one batch; with batch norm it matters.
        untrack_in_d_steps: the generator's batch-norm statistics stand still in discriminator updates.
        output: `tanh`, `sigmoid` or `linear`, from the decoder's raw output to images.
        conditioning: how the discriminator uses labels, if there are classes.
        auxiliary_weights: of the class loss for (discriminator, generator), with conditioning=auxiliary.
        on_collapse: `warn` or `stop`.
    """

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
        augment: Any = None,
        latent_dim: int = 64,
        latent_prior: str = "normal",
        d_steps: int = 1,
        generator_batch_size: int | None = None,
        one_pass: bool = False,
        untrack_in_d_steps: bool = False,
        output: str = "tanh",
        conditioning: str = "projection",
        auxiliary_weights: tuple[float, float] = (1.0, 1.0),
        on_collapse: str = "warn",
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed, num_classes)
        check_prior(latent_prior)
        adversarial.check_options(output, OUTPUTS, on_collapse)
        adversarial.check_penalties(penalty or {})
        if loss.paired and generator_batch_size is not None:
            raise UserError("model.generator_batch_size must be null where the loss compares pairs of images.")
        self.automatic_optimization = False
        self.make_optimizers = (generator_optimizer, discriminator_optimizer)
        self.generator = conditional_decoder(decoder, latent_dim, num_classes, image_shape)
        self.discriminator = Discriminator(encoder, image_shape, conditioning, num_classes)
        self.loss, self.augment = loss, augment or None
        self.penalty = nn.ModuleDict(penalty or {})
        self.latent_prior, self.to_image, self.one_pass = latent_prior, OUTPUTS[output], one_pass
        self.d_steps, self.batches_per_step = d_steps, d_steps
        self.generator_batch_size, self.untrack_in_d_steps = generator_batch_size, untrack_in_d_steps
        self.auxiliary_weights, self.on_collapse = auxiliary_weights, on_collapse
        self.truncation: float | None = None  # for sampling only: of the codes, or of the generator's styles
        self.truncates_styles: bool = getattr(self.generator, "truncates_styles", False)
        self.clipping = adversarial.Clipping()
        self.phases = [
            Phase("discriminator", 1, d_steps, self.discriminator_loss),
            Phase("generator", 0, 1, self.generator_loss),
        ]

    # -- sampling ------------------------------------------------------------------------------------------

    def decode(self, latents: Tensor) -> Tensor:
        return self.generate(latents).clamp(0, 1)

    def generate(self, latents: Tensor) -> Tensor:
        """Latents to images as the discriminator gets them, which a linear output does not keep in [0, 1]."""
        truncated = {} if self.truncation is None or not self.truncates_styles else {"truncation": self.truncation}
        return self.to_image(full_precision(self.generator(latents, **truncated)))

    def sample_codes(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        noise = GeneratorNoise(generator, self.dtype)  # type: ignore[arg-type]
        limit = None if self.truncates_styles else self.truncation
        return draw_codes(self.latent_prior, noise, (count, self.latent_dim), self.device, limit)

    def spectral_modules(self) -> list[nn.Module]:
        return [self.discriminator]

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def fakes(self, count: int, labels: Tensor | None) -> Tensor:
        """Generated images [count, C, H, W] from this step's noise, of these labels int64 [count]."""
        codes = draw_codes(self.latent_prior, self.noise, (count, self.latent_dim), self.device)
        return self.generate(self.labelled(codes, labels))

    # -- the two losses ------------------------------------------------------------------------------------

    def one_hot(self, labels: Tensor | None) -> Tensor | None:
        """Labels [B] as [B, K], or None for a model without classes."""
        return F.one_hot(labels, self.num_classes).float() if self.num_classes and labels is not None else None

    def judge(self, images: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits [B] and, with an auxiliary head, class logits [B, K], of images that are augmented first."""
        return self.classify(self.augmented(images), labels)

    def augmented(self, images: Tensor) -> Tensor:
        """The images as the discriminator sees them."""
        return images if self.augment is None else self.augment(images, self.noise)

    def classify(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Like `judge`, of images as they are."""
        logits, guessed = self.discriminator.judge(images, self.one_hot(labels))
        return full_precision(logits), None if guessed is None else full_precision(guessed)

    def judge_both(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Logits on real and on generated images, and the class logits of the real ones."""
        if not self.one_pass:
            (real_logits, guessed), (fake_logits, _) = self.judge(real, labels), self.judge(fake, labels)
            return real_logits, fake_logits, guessed
        both = torch.cat([self.augmented(real), self.augmented(fake)])
        logits, guessed = self.classify(both, None if labels is None else labels.repeat(2))
        real_logits, fake_logits = logits.chunk(2)
        return real_logits, fake_logits, None if guessed is None else guessed.chunk(2)[0]

    def discriminator_loss(self, batch: Batch, index: int) -> tuple[Tensor, Scalars]:
        real, labels = batch.images, batch.labels if self.num_classes else None
        with torch.no_grad(), adversarial.frozen_statistics(self.generator, self.untrack_in_d_steps):
            fake = self.fakes(len(real), labels)
        real_logits, fake_logits, guessed = self.judge_both(real, fake, labels)
        loss = self.loss.discriminator(real_logits, fake_logits).mean()
        scalars = {"train/loss_discriminator": loss.detach()}
        scalars |= self.loss.diagnostics(real_logits.detach(), fake_logits.detach())
        loss, classes = self.with_class_loss(loss, guessed, labels, "real")
        scalars |= classes | self.adapt_augmentation(real_logits.detach())
        seen = Pass(real, fake, real_logits, fake_logits, self.penalty_judge(labels), self.noise)
        for name, penalty in self.due_penalties(index):
            with no_autocast(real):  # a gradient of it would be in half precision too
                value = penalty(seen).mean()
            scalars[f"train/penalty_{name}"] = value.detach()
            loss = loss + penalty.interval * value
        return loss, scalars

    def with_class_loss(
        self, loss: Tensor, guessed: Tensor | None, labels: Tensor | None, images: str
    ) -> tuple[Tensor, Scalars]:
        """The loss and the auxiliary head's, on `real` or `fake` images; the loss alone without one."""
        if guessed is None or labels is None:
            return loss, {}
        class_loss = F.cross_entropy(guessed, labels)
        weight = self.auxiliary_weights[("real", "fake").index(images)]
        return loss + weight * class_loss, {f"train/class_loss_{images}": class_loss.detach()}

    def adapt_augmentation(self, real_logits: Tensor) -> Scalars:
        """Let an adaptive augmentation see the logits on real images [B]; its probability, to be logged."""
        if self.augment is None or not hasattr(self.augment, "adapt"):
            return {}
        self.augment.observe(real_logits, self.loss.threshold)
        self.augment.adapt(len(real_logits) * self.trainer.world_size, self.images_seen)
        return {"train/augment_p": self.augment.p.clone()}

    def due_penalties(self, index: int) -> list[tuple[str, Penalty]]:
        """The penalties that the discriminator update of this index computes."""
        penalties = ((name, cast(Penalty, penalty)) for name, penalty in self.penalty.items())
        return [(name, penalty) for name, penalty in penalties if index % penalty.interval == 0]

    def penalty_judge(self, labels: Tensor | None) -> Callable[[Tensor], Tensor]:
        """The discriminator for penalties, on images in the precision of its weights."""

        def judge(images: Tensor) -> Tensor:
            return self.judge(images.to(self.dtype), labels)[0]

        return judge

    def generator_loss(self, batch: Batch, index: int) -> tuple[Tensor, Scalars]:
        count = len(batch.images)
        if self.generator_batch_size is not None:
            count = self.generator_batch_size // self.trainer.world_size
        labels = None
        if self.num_classes and batch.labels is not None:  # the frequencies of the data, whatever the count
            labels = batch.labels.repeat(-(-count // len(batch.labels)))[:count]
        real_logits = None
        if self.loss.paired:
            with torch.no_grad():
                real_logits = self.judge(batch.images, labels)[0]
        logits, guessed = self.judge(self.fakes(count, labels), labels)
        loss = self.loss.generator(logits, real_logits).mean()
        scalars = {"train/loss_generator": loss.detach()}
        loss, classes = self.with_class_loss(loss, guessed, labels, "fake")
        return loss, scalars | classes

    # -- training ------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, batch_idx: int) -> None:
        self.count_images(batch)
        optimizers = self.optimizers()
        assert isinstance(optimizers, list)
        adversarial.count_only(optimizers, counted=0)
        parts = adversarial.split(batch, self.batches_per_step)
        size = self.batches_per_step // self.d_steps  # batches whose gradients make one update
        for phase in self.phases:
            for repeat in range(phase.repeats):
                update = self.step * phase.repeats + repeat
                self.run_phase(phase, optimizers[phase.optimizer], parts[repeat * size :][:size], update)

    def run_phase(self, phase: Phase, optimizer: LightningOptimizer, parts: list[Batch], update: int) -> None:
        """One update of one player, from the gradients of these batches."""

        def loss(part: Batch) -> Tensor:
            value, scalars = phase.loss(part, update)
            self.log_scalars(scalars)
            return value

        adversarial.update(self, phase.name, optimizer, [partial(loss, part) for part in parts])
        if phase.name == "discriminator":
            for penalty in self.penalty.values():
                penalty.after_update(self.discriminator)  # type: ignore[operator]

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        self.log_scalars(self.clipping(self, optimizer))

    def clip_and_accumulate(self, limit: float | None, algorithm: str, batches: int) -> None:
        self.clipping.limit, self.clipping.algorithm = limit, algorithm
        self.batches_per_step = self.d_steps * batches

    def on_fit_start(self) -> None:
        super().on_fit_start()
        adversarial.check_fit(self)
        check_augmentation(self.augment, self.loss)

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        generator, discriminator = self.make_optimizers
        return [generator(self.generator.parameters()), discriminator(self.discriminator.parameters())]

    # -- what the evaluation asks --------------------------------------------------------------------------

    def pictures(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Picture]:
        pictures = super().pictures(images, labels)
        if tuple(self.image_shape) == POINTS and not self.num_classes:
            points = self.sample(2000, self.fixed_generator()).flatten(1)
            pictures["field"] = scatter(points, field(self.discriminator))
        return pictures

    def complaints(self, metrics: dict[str, float]) -> list[str]:
        return adversarial.collapse(metrics, stop=self.on_collapse == "stop")
