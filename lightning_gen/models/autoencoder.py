"""The autoencoder (Hinton & Salakhutdinov 2006) and its relatives: denoising, sparse, contractive, regularized."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from pytorch_lightning import Trainer
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.data.tables import TableSchema, probabilities
from lightning_gen.errors import UserError
from lightning_gen.models.base import DecoderFactory, EncoderFactory, GenerativeModel, OptimizerFactory
from lightning_gen.models.latent_density import GaussianMixture
from lightning_gen.models.pretraining import Corruption, Pretraining, Reconstruction, layers_of
from lightning_gen.networks.conditioning import conditional_decoder
from lightning_gen.networks.mlp import MLPEncoder, activation, tie
from lightning_gen.networks.precision import full_precision, no_autocast
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.corruption import random_shift
from lightning_gen.objectives.reconstruction import error_of_rows, squared_error
from lightning_gen.objectives.regularizers import AutoencoderPass, Regularizer
from lightning_gen.randomness import Noise, StepNoise
from lightning_gen.ranges import Count, Natural


class Autoencoder(GenerativeModel):
    """Minimizes the error of reconstructing an image from a (corrupted) copy, plus a penalty, averaged over images.

    A sigmoid on the decoder's raw output gives reconstructions in [0, 1]. For rows of a table, numeric columns are
    the output unchanged and categorical ones its softmax, and the error is that of `error_of_rows`.

    An autoencoder has no prior. To sample, codes are drawn from a density that is fitted to the codes of training
    images (Ghosh et al. 2020, sec. 4): a Gaussian with full covariance, unless another is chosen. In a conditional
    model only the decoder gets the class, so that codes need not encode it; one density serves all classes.

    Args:
        reconstruction: the error, from raw output and images to [B]; see `objectives.reconstruction`.
        corruption: applied to the encoder's input; None for a plain autoencoder.
        regularizer: changes codes, or adds a penalty on them.
        code_activation: the activation of the codes.
        max_shift: the largest random shift of training images, in pixels.
        pretrain: the arguments of `Pretraining`, for layer-wise stages before the joint one.

    Raises:
        UserError: options that cannot be combined, see the message.
    """

    can_encode = True
    monitor = ("eval/reconstruction_mse", "min")
    needs_density = True
    takes_tables = True
    places: Tensor  # of the numeric columns of a table
    blocks: list[slice]  # the places of its categorical columns

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        reconstruction: Reconstruction = squared_error,
        corruption: Corruption | None = None,
        regularizer: Regularizer | None = None,
        latent_dim: Count = 32,
        code_activation: str = "linear",
        max_shift: Natural = 0,
        pretrain: dict[str, Any] | None = None,
        num_classes: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed, num_classes)
        self.make_optimizer, self.reconstruction, self.corruption = optimizer, reconstruction, corruption or None
        self.regularizer, self.max_shift = regularizer or Regularizer(), max_shift
        if self.regularizer.bounded_codes and code_activation != "sigmoid":
            raise UserError("model/regularizer=kl needs codes in [0, 1]: set model.code_activation=sigmoid.")
        self.encoder = encoder(image_shape=image_shape)
        self.code = nn.Sequential(
            nn.Linear(self.encoder.num_features, latent_dim),  # type: ignore[arg-type]
            activation(code_activation),
        )
        self.decoder = conditional_decoder(decoder, latent_dim, num_classes, image_shape)
        tie(self.decoder, self.encoder, self.code)
        self.density = GaussianMixture(latent_dim)
        pretrain = pretrain or {"steps_per_layer": 0}
        if num_classes and pretrain["steps_per_layer"]:
            raise UserError("conditional=true needs model.pretrain.steps_per_layer=0.")
        layers = layers_of(self.encoder, self.code, self.decoder) if pretrain["steps_per_layer"] else []
        self.pretraining = Pretraining(layers, **pretrain)
        self.leaves_parameters_out = bool(layers)

    # -- use -------------------------------------------------------------------------------------------------

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.regularizer.transform(full_precision(self.code(self.encoder(images))))  # [B, Z]

    def decode(self, latents: Tensor) -> Tensor:
        raw = full_precision(self.decoder(latents))
        return raw.sigmoid() if self.table is None else probabilities(raw, self.blocks)

    def see_table(self, table: TableSchema | None) -> None:
        super().see_table(table)
        if table is None:
            return
        if not self._squared or self.max_shift:
            raise UserError(
                "model/reconstruction and model.max_shift are for images; a table has its own error: omit them."
            )
        self.blocks = table.blocks()
        self.register_buffer("places", table.numeric(), persistent=False)
        self.reconstruction = self._error_of_rows

    def _error_of_rows(self, raw: Tensor, rows: Tensor) -> Tensor:
        return error_of_rows(raw, rows, self.places, self.blocks)

    def averaged_modules(self) -> dict[str, nn.Module]:
        # Without the density, which is fitted again for the averaged weights
        return {"encoder": self.encoder, "code": self.code, "decoder": self.decoder}

    def networks(self) -> list[nn.Module]:
        return [] if self._penalizes else [self.encoder, self.decoder]  # penalties differentiate twice

    @torch.no_grad()
    def fit_density(self, batches: Callable[[], Iterable[Batch]]) -> None:
        assert isinstance(self.density, GaussianMixture)
        self.density.fit(torch.cat([self.encode(batch.images).float() for batch in batches()]))

    # -- evaluation ------------------------------------------------------------------------------------------

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        metrics = super().test_metrics(batch, noise)
        return metrics | (
            {"loss": metrics["squared_error"]} if self.is_plain else self.overfitting_metrics(batch, noise)
        )

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        if self.is_plain:
            return {"loss": super().test_metrics(batch, noise)["squared_error"]}
        error, penalty = self.joint_terms(batch.images, batch.labels, noise)
        return {"loss": error if penalty is None else error + penalty.detach()}

    @property
    def is_plain(self) -> bool:
        """Whether the loss is nothing but the squared error, which need not be computed twice."""
        return self.corruption is None and not self._penalizes and self._squared

    @property
    def _squared(self) -> bool:
        return getattr(self.reconstruction, "func", self.reconstruction) is squared_error

    # -- training --------------------------------------------------------------------------------------------

    def check_training(self, trainer: Trainer) -> None:
        super().check_training(trainer)
        if 0 < trainer.max_steps < self.pretraining.steps:
            raise UserError(
                f"trainer.max_steps={trainer.max_steps} is less than the {self.pretraining.steps} steps of the "
                "layer-wise stages: set it higher, or model.pretrain.steps_per_layer lower."
            )

    def schedule_progress(self) -> tuple[int, int]:
        return self.pretraining.progress(*super().schedule_progress())

    @property
    def stage(self) -> str:
        layers, number = len(self.pretraining.layers), self.pretraining.stage(self.step)
        if not layers:
            return super().stage
        return f"layer {number + 1} of {layers}" if number < layers else "all layers"

    def shown_now(self) -> dict[str, str]:
        layers, number = len(self.pretraining.layers), self.pretraining.stage(self.step)
        return {"loss": f"train/loss_layer{number + 1}"} if number < layers else super().shown_now()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.count_images(batch)
        if self.private is not None:
            return self.private_loss(batch)
        images = random_shift(batch.images, self.noise, self.max_shift) if self.max_shift else batch.images
        layers = self.pretraining.layers
        stage = self.pretraining.stage(self.step) if layers else 0
        if stage < len(layers):
            errors = self.pretraining.loss(stage, images, self.corruption, self.reconstruction, self.noise)
            loss = errors.mean()
            self.log_scalars({f"train/loss_layer{stage + 1}": loss})
        else:
            errors, penalties = self.joint_terms(images, batch.labels, self.noise)
            loss = error = errors.mean()
            if penalties is not None:
                penalty = penalties.mean()
                loss = error + penalty
                self.log_scalars({"train/penalty": penalty})
            self.log_scalars({"train/loss": loss, "train/reconstruction": error})
        if layers:
            self.log_scalars({"train/stage": torch.tensor(stage + 1.0, device=loss.device)})
        return loss

    def step_constants(self) -> tuple[Any, ...] | None:
        stage = self.pretraining.stage(self.step) if self.pretraining.layers else 0
        return None if self.private is not None else (stage, *self.scheduled_values())

    def image_losses(self, batch: Batch, noise: Noise) -> Tensor:
        images = random_shift(batch.images, noise, self.max_shift) if self.max_shift else batch.images
        return self.joint_terms(images, batch.labels, noise)[0]

    def joint_terms(self, images: Tensor, labels: Tensor | None, noise: Noise) -> tuple[Tensor, Tensor | None]:
        """Reconstruction error and penalty of the whole model, each [B]; labels int64 [B] if conditioned.

        The penalty is None if the regularizer has none. `noise` draws the corruption.
        """
        corrupted = images if self.corruption is None else self.corruption(images, noise)
        codes = self.encode(corrupted)
        error = self.reconstruction(self.decoder(self.labelled(codes, labels)), images)
        if not self._penalizes:
            return error, None
        seen = AutoencoderPass(
            images=images,
            codes=codes,
            encode=self.encode,
            decode=lambda some: self.decode(self.labelled(some, labels)),
            single_layer=self.single_layer(),
            decoder_parameters=self.decoder.parameters(),
            noise=noise,
        )
        with no_autocast(images):  # or gradients inside the penalty would be in half precision
            return error, self.regularizer.penalty(seen)

    @property
    def _penalizes(self) -> bool:
        return type(self.regularizer).penalty is not Regularizer.penalty

    def single_layer(self) -> tuple[nn.Linear, nn.Module] | None:
        """The linear layer and the activation of an encoder that has a single layer, else None."""
        if not (isinstance(self.encoder, MLPEncoder) and len(self.encoder.net) == 1):
            return None
        linear, act = self.code
        assert isinstance(linear, nn.Linear)
        return linear, act
