"""The generative adversarial network (Goodfellow et al. 2014), in two phases: discriminator and generator."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.data.loader import Batch
from lightning_gen.data.tables import TableSchema, one_hot_categories
from lightning_gen.errors import UserError
from lightning_gen.models.adversarial_training import AdversarialModel, Phase
from lightning_gen.models.base import DecoderFactory, EncoderFactory, OptimizerFactory
from lightning_gen.models.discriminator import Conditioning, Discriminator, Judged, field
from lightning_gen.models.latent_prior import LatentPrior, draw_codes
from lightning_gen.models.mode_collapse import collapse
from lightning_gen.models.model_pictures import MOST_POINTS
from lightning_gen.models.private_gan import private_discriminator_loss
from lightning_gen.networks.batch_norm import frozen_statistics
from lightning_gen.networks.conditioning import conditional_decoder
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import POINTS, ImageShape
from lightning_gen.objectives.adversarial import AdversarialLoss
from lightning_gen.objectives.augmentation import Augmentation
from lightning_gen.objectives.penalties import DiscriminatorPass, GeneratorPass, Penalty
from lightning_gen.pictures import Picture, Points
from lightning_gen.randomness import Noise, StepNoise
from lightning_gen.ranges import Count, NonNegative

Output = Literal["tanh", "sigmoid", "linear"]
OUTPUTS: dict[Output, Callable[[Tensor], Tensor]] = {
    "tanh": lambda raw: (raw.tanh() + 1) / 2,
    "sigmoid": torch.sigmoid,
    "linear": lambda raw: (raw + 1) / 2,  # unbounded, as in StyleGAN2; only samples are clamped
}


class GAN(AdversarialModel):
    """Trains a generator and a discriminator in turn (Goodfellow et al. 2014, algorithm 1).

    A step is `d_steps` updates of the discriminator, each with a new real batch and new codes, then one update of the
    generator. The decoder is the generator; the encoder with a linear head is the discriminator.
    `trainer.global_step` counts generator updates.

    Args:
        loss: the losses of both players.
        penalty: penalties on the discriminator, by name.
        augment: an augmentation of real and generated images before the discriminator.
        latent_prior: `normal`, `uniform` or `truncated`, see `draw_codes`.
        generator_batch_size: generated images per generator update, over all devices; None: as many as real ones.
        one_pass: the discriminator gets real and generated images in one batch. This matters for batch normalization.
        untrack_in_d_steps: keep the generator's batch-normalization statistics fixed in discriminator updates.
        output: from the decoder's raw output to images: `tanh`, `sigmoid` or `linear`; not used for rows of a table,
            whose output is that of `one_hot_categories`.
        conditioning: how the discriminator uses labels in a conditional model, see `Discriminator`.
        auxiliary_weights: the weights of the class loss for (discriminator, generator), for conditioning=auxiliary.
        auxiliary_on_fakes: the discriminator's class loss is on real and on generated images (Odena et al. 2017, eq.
            3); False: on real images only.
        on_collapse: `warn`, or `stop` the run, when an evaluation shows mode collapse.

    Raises:
        UserError: a generator batch size with a loss that compares pairs of images.
    """

    not_fused = "model.generator_optimizer.fused=false"
    takes_tables = True
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
        augment: Augmentation | None = None,
        latent_dim: Count = 64,
        latent_prior: LatentPrior = "normal",
        d_steps: Count = 1,
        generator_batch_size: Count | None = None,
        one_pass: bool = False,
        untrack_in_d_steps: bool = False,
        output: Output = "tanh",
        conditioning: Conditioning = "projection",
        auxiliary_weights: tuple[NonNegative, NonNegative] = (1.0, 1.0),
        auxiliary_on_fakes: bool = True,
        on_collapse: Literal["warn", "stop"] = "warn",
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed, num_classes, penalty)
        if loss.paired and generator_batch_size is not None:
            raise UserError("model.generator_batch_size must be null where the loss compares pairs of images.")
        self.generator = conditional_decoder(decoder, latent_dim, num_classes, image_shape)
        self.discriminator = Discriminator(encoder, image_shape, conditioning, num_classes)
        self.loss, self.augment = loss, augment or Augmentation()
        self.latent_prior, self.to_image, self.one_pass = latent_prior, OUTPUTS[output], one_pass
        self.normal_prior = latent_prior != "uniform"
        self.generator_batch_size, self.untrack_in_d_steps = generator_batch_size, untrack_in_d_steps
        self.auxiliary_weights, self.auxiliary_on_fakes = auxiliary_weights, auxiliary_on_fakes
        self.on_collapse = on_collapse
        self.truncation: float | None = None  # for sampling: of the codes, or of the generator's styles
        self.truncates_styles: bool = getattr(self.generator, "truncates_styles", False)
        self.play(
            self.discriminator_phase(self.discriminator, discriminator_optimizer, self.discriminator_loss, d_steps),
            Phase("generator", (self.generator,), generator_optimizer, self.generator_loss),
        )

    def see_table(self, table: TableSchema | None) -> None:
        super().see_table(table)
        if table is None:
            return
        if type(self.augment) is not Augmentation or any(one.images_only for one in self.penalty.values()):
            raise UserError(
                "model/augment and model/penalty=consistency change images, and these are rows of a table: omit them."
            )
        self.to_image = partial(one_hot_categories, blocks=table.blocks())

    # -- sampling ------------------------------------------------------------------------------------------

    def decode(self, latents: Tensor) -> Tensor:
        images = self.generate(latents)
        return images.clamp(0, 1) if self.table is None else images

    def generate(self, latents: Tensor, noise: Noise | None = None) -> Tensor:
        """Images from latents, as the discriminator gets them: a linear output may leave [0, 1].

        `noise`: that of a training step, for a generator that draws random numbers of its own.
        """
        options: dict[str, Any] = {}
        if self.truncation is not None and self.truncates_styles:
            options["truncation"] = self.truncation
        if noise is not None and getattr(self.generator, "takes_noise", False):
            options["noise"] = noise
        return self.to_image(full_precision(self.generator(latents, **options)))

    def codes_from(self, noise: Noise, count: int) -> Tensor:
        return self.draw(noise, count, None if self.truncates_styles else self.truncation)

    def draw(self, noise: Noise, count: int, truncation: float | None = None) -> Tensor:
        """Codes [count, Z] from the prior."""
        return draw_codes(self.latent_prior, noise, (count, self.latent_dim), self.device, truncation)

    def networks(self) -> list[nn.Module]:
        of_discriminator = self.discriminator.encoder
        return [of_discriminator] if self.has_styles() else [self.generator, of_discriminator]

    def spectral_modules(self) -> list[nn.Module]:
        return [self.discriminator]

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {"generator": self.generator}

    def fakes(self, count: int, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Generated images [count, C, H, W] and their codes, from this step's noise, with labels int64 [count]."""
        codes = self.draw(self.noise, count)
        return self.generate(self.labelled(codes, labels), self.noise), codes

    def with_generated_loss(self, loss: Tensor, judged: Judged, codes: Tensor) -> Tensor:
        """The loss of either player, to which a subclass adds a term of generated images and their codes."""
        return loss

    # -- the two losses ------------------------------------------------------------------------------------

    def one_hot(self, labels: Tensor | None) -> Tensor | None:
        """One-hot labels [B, K], or None in a model without classes."""
        return F.one_hot(labels, self.num_classes).float() if self.num_classes and labels is not None else None

    def judge(self, images: Tensor, labels: Tensor | None = None) -> Judged:
        """What the discriminator says of images after augmentation; its logits are in full precision."""
        return self.classify(self.augment(images, self.noise), labels)

    def classify(self, images: Tensor, labels: Tensor | None) -> Judged:
        """Like `judge`, without augmentation."""
        judged = self.discriminator.judge(images, self.one_hot(labels))
        classes = None if judged.classes is None else full_precision(judged.classes)
        return Judged(full_precision(judged.logits), classes, judged.features)

    def discriminator_logits(self, images: Tensor) -> Tensor | None:
        return None if self.num_classes else self.classify(images, None).logits

    def judge_both(self, real: Tensor, fake: Tensor, labels: Tensor | None) -> tuple[Judged, Judged]:
        """What it says of real and of generated images with the same labels."""
        if not self.one_pass:
            return self.judge(real, labels), self.judge(fake, labels)
        both = torch.cat([self.augment(images, self.noise) for images in (real, fake)])
        judged = self.classify(both, None if labels is None else labels.repeat(2))
        parts = [(None, None) if part is None else part.chunk(2) for part in judged]
        real_judged, fake_judged = (Judged(*part) for part in zip(*parts, strict=True))
        return real_judged, fake_judged

    def discriminator_loss(self, batch: Batch, index: int) -> Tensor:
        """The discriminator's loss and its penalties, a scalar."""
        if self.private is not None:
            return private_discriminator_loss(self, batch.images, index)
        real, labels = batch.images, batch.labels if self.num_classes else None
        with torch.no_grad(), frozen_statistics(self.generator, self.untrack_in_d_steps):
            fake, codes = self.fakes(len(real), labels)
        of_real, of_fake = self.judge_both(real, fake, labels)
        real_logits, fake_logits = of_real.logits, of_fake.logits
        loss = self.loss.discriminator(real_logits, fake_logits).mean()
        self.log_scalars({"train/loss_discriminator": loss})
        if self.logging:
            self.log_scalars(self.loss.diagnostics(real_logits.detach(), fake_logits.detach()))
        self.log_scalars(self.augment.follow(real_logits, self.loss.threshold))
        weight = self.auxiliary_weights[0]
        loss = self.with_class_loss(loss, weight, of_real.classes, labels, "real")
        if self.auxiliary_on_fakes:
            loss = self.with_class_loss(loss, weight, of_fake.classes, labels, "fake")
        loss = self.with_generated_loss(loss, of_fake, codes)
        seen = DiscriminatorPass(
            real=real,
            fake=fake,
            real_logits=real_logits,
            fake_logits=fake_logits,
            judge=lambda images: self.judge(images, labels).logits,
            discriminator=self.discriminator,
            noise=self.noise,
        )
        return self.penalized(loss, seen, index)

    def with_class_loss(
        self, loss: Tensor, weight: float, guessed: Tensor | None, labels: Tensor | None, images: str
    ) -> Tensor:
        """The loss plus the weighted class loss on `real` or `fake` images, if there is an auxiliary head."""
        if guessed is None or labels is None:
            return loss
        class_loss = F.cross_entropy(guessed, labels)
        self.log_scalars({f"train/class_loss_{images}": class_loss})
        return loss + weight * class_loss

    def generator_loss(self, batch: Batch, index: int) -> Tensor:
        """The generator's loss, a scalar."""
        count = len(batch.images) if self.private is None else self.private.batch_size
        if self.generator_batch_size is not None:
            count = self.generator_batch_size // self.trainer.world_size
        labels = None
        if self.num_classes and batch.labels is not None:  # class frequencies as in the data, for any count
            labels = batch.labels.repeat(-(-count // len(batch.labels)))[:count]
        real_logits = None
        if self.loss.paired:
            with torch.no_grad():
                real_logits = self.judge(batch.images, labels).logits
        fake, codes = self.fakes(count, labels)
        judged = self.judge(fake, labels)
        loss = self.loss.generator(judged.logits, real_logits).mean()
        self.log_scalars({"train/loss_generator": loss})
        loss = self.with_class_loss(loss, self.auxiliary_weights[1], judged.classes, labels, "fake")
        loss = self.with_generated_loss(loss, judged, codes)
        return self.penalized_generator(loss, self.labelled(codes, labels), index)

    def has_styles(self) -> bool:
        return hasattr(self.generator, "synthesize")

    def penalized_generator(self, loss: Tensor, latents: Tensor, index: int) -> Tensor:
        """The generator's loss plus the penalties on the generator that are due at its update number `index`."""
        network: Any = self.generator

        def images(styles: Tensor) -> Tensor:
            return 2 * self.to_image(full_precision(network.synthesize(styles, self.noise))) - 1

        seen = GeneratorPass(latents, lambda codes: network.styles(codes, noise=self.noise), images, self.noise)
        return self.penalized(loss, seen, index)

    def step_constants(self) -> tuple[Any, ...] | None:
        if self.private is not None or type(self.augment).follow is not Augmentation.follow or self.has_styles():
            return None
        repeats = self.phases[0].repeats
        updates = range(self.step * repeats, (self.step + 1) * repeats)  # of the discriminator
        return None if self.penalty.lazy_due(updates) else self.scheduled_values()

    def check_training(self, trainer: Trainer) -> None:
        """Raise a UserError if devices do not divide the generator batch, or the loss excludes the augmentation."""
        super().check_training(trainer)
        size, processes = self.generator_batch_size, trainer.world_size
        if size is not None and size % processes:
            raise UserError(
                f"model.generator_batch_size={size} counts the images of all devices and is not divisible by "
                f"{processes} devices."
            )
        self.augment.check(self.loss)

    # -- evaluation ----------------------------------------------------------------------------------------

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        """Also `logits`, and `logits_fake` of a quarter as many generated images, because drawing them takes long."""
        metrics = super().test_metrics(batch, noise) | self.overfitting_metrics(batch, noise)
        if "logits" in metrics:
            count = -(-len(batch.images) // 4)
            labels = batch.labels[:count] if self.num_classes and batch.labels is not None else None
            codes = self.draw(noise, count).to(batch.images)
            fakes = self.generate(self.labelled(codes, labels), noise)
            metrics["logits_fake"] = self.classify(fakes, labels).logits
        return metrics

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        if self.num_classes and batch.labels is None:
            return {}
        return {"logits": self.classify(batch.images, batch.labels if self.num_classes else None).logits}

    def pictures(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Picture]:
        pictures = super().pictures(images, labels)
        if tuple(self.image_shape) == POINTS and self.table is None and not self.num_classes:
            points = self.sample(MOST_POINTS, self.fixed_generator()).flatten(1)
            title = "Where the discriminator takes points for real or for generated"
            logits = field(self.discriminator)
            pictures["field"] = Points({"generated points": points}, title, images.flatten(1), logits)
        return pictures

    def complaints(self, metrics: dict[str, float]) -> list[str]:
        return collapse(metrics, self.on_collapse == "stop", self.phases[0].repeats)
