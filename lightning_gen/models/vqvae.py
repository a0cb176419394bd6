"""The VQ-VAE (van den Oord et al. 2017): discrete codes, then a prior over them, in one training run."""

from collections.abc import Callable
from typing import ClassVar

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.base import DecoderFactory, EncoderFactory, GenerativeModel, OptimizerFactory
from lightning_gen.models.codebook import Codebook
from lightning_gen.models.quantizers import FSQ, ResidualQuantizer
from lightning_gen.networks.precision import full_precision
from lightning_gen.networks.shapes import ImageShape, check_images
from lightning_gen.networks.transformer import CodeTransformer
from lightning_gen.networks.vq import VQEncoder
from lightning_gen.objectives.reconstruction import squared_error
from lightning_gen.randomness import StepNoise, Stream, mix
from lightning_gen.ranges import NonNegative


class VQVAE(GenerativeModel):
    """Minimizes ||x - G(e)||^2 + beta ||E(x) - e||^2, then -log p(c) of the discrete codes c.

    e is the map of quantized outputs of the encoder E(x): with the default quantizer, the codebook's vectors that are
    nearest to them. The gradient with respect to e is passed to E(x) unchanged (straight-through). Both terms are
    summed over an image and averaged over images (van den Oord et al. 2017, eq. 3; moving averages of the codebook
    replace its second term).

    In the second stage only the prior p(c) is trained. Before, it is uniform. The codes that `encode` returns are e,
    [B, D * h * w]; `decode` quantizes its input where the quantizer can. In a conditional model only the prior gets
    the class.

    Args:
        quantizer: builds the quantizer: a `Codebook`, or one of `quantizers`.
        prior: builds the prior over discrete codes; they are a sequence of h * w * depth codes, see `Codebook`.
        prior_steps: the number of last steps that form the second stage, or if below 1 their fraction.

    Raises:
        UserError: points in the plane, or an encoder without a map of features.
    """

    can_encode = True
    leaves_parameters_out = True
    shown: ClassVar[dict[str, str]] = {"loss": "train/loss"}

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        quantizer: Callable[[], Codebook | FSQ | ResidualQuantizer],
        prior: Callable[..., CodeTransformer],
        prior_steps: NonNegative = 0.4,
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        check_images("vqvae", image_shape)
        network = encoder(image_shape=image_shape)
        if not isinstance(network, VQEncoder):
            raise UserError("model=vqvae needs a map of features: use networks=vq.")
        width, *sides = network.feature_shape
        self.cells = sides[0] * sides[1]
        with torch.random.fork_rng(devices=[]):  # the encoder's random weights come first
            dim = quantizer().dim
        self.map_shape = (dim, *sides)
        super().__init__(image_shape, dim * self.cells, seed, num_classes)
        self.make_optimizer, self.prior_steps = optimizer, prior_steps
        self.encoder = nn.Sequential(network, nn.Unflatten(1, (width, *sides)), nn.Conv2d(width, dim, 1))
        self.codebook = quantizer()
        self.decoder = decoder(latent_dim=self.latent_dim, image_shape=image_shape, spatial=True)
        tokens = self.cells * self.codebook.depth
        self.prior = prior(num_codes=self.codebook.num_codes, positions=tokens, num_classes=num_classes)
        self.shared_noise = StepNoise(mix(seed, Stream.CODEBOOK))

    # -- use -------------------------------------------------------------------------------------------------

    @property
    def quantizer(self) -> Codebook | FSQ | ResidualQuantizer:
        """The quantizer, by the name that it has in the config."""
        return self.codebook

    def outputs(self, images: Tensor) -> Tensor:
        """The encoder's outputs, one [D] for each position: [B * h * w, D], in full precision."""
        return self.rows(full_precision(self.encoder(images)).flatten(1))

    def rows(self, codes: Tensor) -> Tensor:
        """Flattened maps [B, D * h * w] as vectors [B * h * w, D]."""
        return codes.unflatten(1, (self.map_shape[0], -1)).transpose(1, 2).flatten(0, 1)

    def flattened(self, rows: Tensor) -> Tensor:
        """Vectors [B * h * w, D] as flattened maps [B, D * h * w]."""
        return rows.unflatten(0, (-1, self.cells)).transpose(1, 2).flatten(1)

    def discrete(self, images: Tensor) -> Tensor:
        """The discrete codes of images, int64 [B, h * w * depth], row by row; `depth` codes at each position."""
        return self.codebook.nearest(self.outputs(images)).view(len(images), -1)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.flattened(self.codebook(self.codebook.nearest(self.outputs(images))))

    def networks(self) -> list[nn.Module]:
        return [self.encoder, self.decoder]

    def decode(self, latents: Tensor) -> Tensor:
        rows = self.rows(latents[:, : self.latent_dim])  # the decoder knows no labels
        return full_precision(self.decoder(self.flattened(self.codebook.snapped(rows)))).sigmoid()

    def sample_latents(
        self, count: int, generator: torch.Generator | None = None, labels: Tensor | None = None
    ) -> Tensor:
        if self.density is not None:
            return super().sample_latents(count, generator, labels)
        where = self._drawn_on(generator)
        uniform = torch.rand(count, self.prior.positions, device=where, generator=generator)
        if self.num_classes and labels is None:
            labels = torch.randint(self.num_classes, (count,), device=where, generator=generator)
        labels = None if labels is None else labels.to(self.device)
        codes = self.prior.sample(uniform.to(self.device), labels if self.num_classes else None)
        codes = codes.view(-1, self.codebook.depth) if self.codebook.depth > 1 else codes.flatten()
        return self.labelled(self.flattened(self.codebook(codes)), labels)

    def prior_nll(self, batch: Batch) -> Tensor:
        """-log p(c) of the images' discrete codes: [B], in nats."""
        with torch.no_grad():
            codes = self.discrete(batch.images)
        return self.prior.nll(codes, batch.labels if self.num_classes else None)

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        return super().test_metrics(batch, noise) | {"prior_nll": self.prior_nll(batch)}

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        error = super().test_metrics(batch, noise)["squared_error"]
        return {"squared_error": error, "prior_nll": self.prior_nll(batch)}

    # -- training --------------------------------------------------------------------------------------------

    @property
    def prior_starts(self) -> int:
        """The first step of the second stage."""
        return self._prior_starts(self.trainer.max_steps)

    def _prior_starts(self, last: int) -> int:
        steps = self.prior_steps
        return last - (round(steps * last) if steps < 1 else int(steps))

    def check_training(self, trainer: Trainer) -> None:
        super().check_training(trainer)
        if trainer.max_steps > 0 and self._prior_starts(trainer.max_steps) <= 0:
            raise UserError(
                f"model.prior_steps={self.prior_steps} of trainer.max_steps={trainer.max_steps} leaves no steps "
                "for the first stage: set it lower, or to a fraction such as 0.4."
            )

    def begin_step(self) -> None:
        super().begin_step()
        self.shared_noise.start(self.step)

    def schedule_progress(self) -> tuple[int, int]:
        step, steps = super().schedule_progress()  # each stage has its own schedule
        starts = self.prior_starts
        return (step, starts) if step < starts else (step - starts, steps - starts)

    @property
    def stage(self) -> str:
        return "prior of the codes" if self.step >= self.prior_starts else "autoencoder"

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.count_images(batch)
        return self.stage_loss(batch)

    def stage_loss(self, batch: Batch) -> Tensor:
        """The loss of the present stage, a scalar."""
        second = self.step >= self.prior_starts
        if second:
            loss = self.prior_nll(batch).mean()
            self.log_scalars({"train/prior_nll": loss})
        else:
            loss = self.first_stage(batch.images)
        stage = torch.tensor(2.0 if second else 1.0, device=loss.device)
        self.log_scalars({"train/loss": loss, "train/stage": stage})
        return loss

    def first_stage(self, images: Tensor) -> Tensor:
        """The loss of the first stage, a scalar; also updates the codebook."""
        return self.quantized_error(images)[2]

    def quantized_error(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The decoder's output [B, C, H, W], the reconstruction error, and its sum with the commitment term, scalars.

        Also updates the codebook.
        """
        outputs = self.outputs(images)
        vectors, commitment, scalars = self.codebook.quantized(outputs, self.shared_noise)
        raw = self.decoder(self.flattened(vectors))
        error = squared_error(raw, images).mean()
        commitment = commitment / len(images)
        self.log_scalars({"train/reconstruction": error, "train/commitment": commitment, **scalars})
        return raw, error, error + self.codebook.commitment * commitment
