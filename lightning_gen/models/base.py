"""The base class of every model: sampling, reconstruction, pictures, and the hooks that models override."""

from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.tables import TableSchema
from lightning_gen.data.words import unit_of
from lightning_gen.errors import UserError
from lightning_gen.models.interpolation import along_line, along_sphere
from lightning_gen.models.latent_density import Density
from lightning_gen.models.model_pictures import general_pictures
from lightning_gen.models.steps import StepModule
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.densities import Densities
from lightning_gen.objectives.likelihoods import Likelihood
from lightning_gen.pictures import Picture
from lightning_gen.randomness import GeneratorNoise, Noise, StepNoise, Stream, mix

EncoderFactory = Callable[..., nn.Module]  # (image_shape=...) -> module with `num_features`
DecoderFactory = Callable[..., nn.Module]  # (latent_dim=..., image_shape=...) -> module
OptimizerFactory = Callable[..., torch.optim.Optimizer]  # (parameters) -> optimizer


class GenerativeModel(StepModule):
    """A generative model of images. Images are float [B, C, H, W] in [0, 1] in all arguments and results.

    With `table`, they are rows of that table instead, float [B, 1, 1, D] as `TableSchema` encodes them.

    Subclasses implement `decode`, `training_step` and, if they have an encoder, `encode`. `training_step` calls
    `count_images` and `log_scalars`.

    A *code* is [B, Z]. A *latent*, the input of `decode`, is the code; in a model that is conditioned on K classes it
    is the code followed by the one-hot label, [B, Z + K].
    """

    shown: ClassVar[dict[str, str]] = {"loss": "train/loss"}  # scalars in the progress bar, by their short names
    can_encode = False  # has an encoder: codes, reconstructions, interpolations between images
    can_sample = True  # draws images from a prior
    normal_prior = False  # the prior of the codes is N(0, I)
    needs_density = False  # samples from a density of codes, which `fit_density` fits
    leaves_parameters_out = False  # some training steps give some parameters no gradient
    takes_tables = False  # can be trained on rows of a table
    needs_labels = False  # needs labels for training even if it is not conditioned on them
    monitor: ClassVar[tuple[str, str]] = ("fid", "min")  # best.ckpt has the best value of this metric: min or max
    make_optimizer: OptimizerFactory  # set by models that have one optimizer

    def __init__(self, image_shape: ImageShape, latent_dim: int, seed: int = 0, num_classes: int = 0) -> None:
        super().__init__(seed)
        self.image_shape: ImageShape = (image_shape[0], image_shape[1], image_shape[2])  # from a list, if by Hydra
        self.latent_dim = latent_dim
        self.num_classes = num_classes  # the number of classes that the model is conditioned on; 0: not conditioned
        self.density_fitted_at: int | None = None
        self.averaged = False  # has the averaged weights of a checkpoint
        self.step_loaded: int | None = None  # the step of the checkpoint from which it was loaded
        self.density: Density | None = None
        self.table: TableSchema | None = None  # the columns, if the data are rows of a table
        self.class_names: tuple[str, ...] = ()  # of the data, for pictures

    @property
    def unit(self) -> str:
        """What is counted: `images`, `points` in the plane, or `rows` of a table."""
        return unit_of(self.image_shape, self.table is not None)

    # -- what models override ------------------------------------------------------------------------------

    @property
    def stage(self) -> str:
        """What the present step trains, for models that train in stages."""
        return "training"

    def shown_now(self) -> dict[str, str]:
        """Those of `shown` that the present stage has; of private training, which logs no losses, epsilon."""
        return self.shown if self.private is None else {"epsilon": "privacy/epsilon"}

    def decode(self, latents: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] from latents [B, Z], or [B, Z + K] with one-hot labels."""
        raise UserError(f"{type(self).__name__} has no decoder.")

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Codes [B, Z] of images [B, C, H, W] in [0, 1]; labels int64 [B] if the encoder is conditioned."""
        raise UserError(f"{type(self).__name__} has no encoder: use model=ae or model=vae.")

    def sample_codes(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Codes [count, Z] drawn from `self.density` if there is one, else from the prior, see `codes_from`."""
        return self.codes_from(GeneratorNoise(generator, self.dtype), count)  # type: ignore[arg-type]

    def codes_from(self, noise: Noise, count: int) -> Tensor:
        """Codes [count, Z] as a function of noise: from `self.density` if there is one, else from the prior N(0, I).

        An export asks with noise of its own, so subclasses override this method and not `sample_codes`.
        """
        if self.density is None:
            return noise.normal((count, self.latent_dim), self.device)
        normal = noise.normal((count, self.density.noise_dim), self.device)
        return self.density(normal, noise.uniform((count,), self.device))

    def sample_latents(
        self, count: int, generator: torch.Generator | None = None, labels: Tensor | None = None
    ) -> Tensor:
        """Latents from the prior, with `labels` int64 [count]; without them, labels are drawn uniformly."""
        codes = self.sample_codes(count, generator)
        if self.num_classes and labels is None:
            where = self._drawn_on(generator)
            labels = torch.randint(self.num_classes, (count,), device=where, generator=generator)
        return self.labelled(codes, labels)

    def labelled(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        """Latents from codes [B, Z]: followed by one-hot labels if the model is conditioned on classes."""
        if not self.num_classes:
            return codes
        if labels is None:
            raise ValueError("a conditional model needs the labels of its images")
        return torch.cat([codes, one_hot(labels, self.num_classes).to(codes)], dim=1)

    def _drawn_on(self, generator: torch.Generator | None) -> torch.device:
        return self.device if generator is None else generator.device

    def configure_optimizers(self) -> torch.optim.Optimizer | list[torch.optim.Optimizer]:
        """One optimizer of all parameters; adversarial models have one for each player."""
        return self.make_optimizer(self.parameters()) if hasattr(self, "make_optimizer") else []

    def averaged_modules(self) -> dict[str, nn.Module]:
        """The modules whose weights an exponential moving average tracks, by their attribute names."""
        return dict(self.named_children())

    def networks(self) -> list[nn.Module]:
        """The networks that `trainer.compile` may compile: they are called in training, and differentiated once."""
        return []

    def spectral_modules(self) -> list[nn.Module]:
        """The modules besides the encoder that `networks.spectral_norm=encoder` applies to, such as heads."""
        return []

    def image_losses(self, batch: Batch, noise: Noise) -> Tensor:
        """The training loss of each image [B], from this image alone; private training clips their gradients."""
        raise UserError(f"privacy=dp_sgd cannot train {type(self).__name__}: use model=ae, vae or gan.")

    def private_loss(self, batch: Batch) -> Tensor:
        """A scalar whose gradient is the private one of `image_losses`; nothing else of the images is logged."""
        assert self.private is not None
        labelled = batch.labels is not None
        inputs = (batch.images, batch.labels) if batch.labels is not None else (batch.images,)

        def loss(noise: Noise, image: Tensor, *label: Tensor) -> Tensor:
            one = Batch(image.unsqueeze(0), label[0].unsqueeze(0) if labelled else None)
            return self.image_losses(one, noise).squeeze(0)

        return self.log_private(*self.private(self, loss, inputs, self.noise, self.step))

    def log_private(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Log what private training has spent after this step, and the norm of its gradient; returns the loss."""
        if self.logging and self.private is not None:
            spent = torch.tensor(self.private.epsilon(self.step + 1), device=loss.device)
            self.log_scalars({"privacy/epsilon": spent, "train/private_gradient_norm": norm})
        return loss

    def fit_density(self, batches: Callable[[], Any]) -> None:
        """Fit the density that sampling needs to the codes of real images; by default there is none."""

    def sample_rows(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Rows of the table, float [count, 1, 1, D], drawn from the prior; by default the decoded codes."""
        return self._images(self.sample_latents(count, generator))

    def see_table(self, table: TableSchema | None) -> None:
        """Take the columns of a table, or None for images; called once, when the model is built.

        Raises:
            UserError: the model, or one of its parts, is for images only, or for tables only.
        """
        if table is not None and not self.takes_tables:
            raise UserError(
                f"{type(self).__name__} is for images, and these are rows of a table: use model=vae, ae, gan or gmm."
            )
        if table is not None and self.num_classes:
            raise UserError("conditional=true is for images; the target of a table is a column: set it to false.")
        self.table = table
        likelihood = getattr(self, "likelihood", None)
        if isinstance(likelihood, Likelihood):
            likelihood.for_table(table)

    def check_table(self, data: ImageDataModule) -> None:
        """Raise a UserError if the data are rows of another table than the model was trained on."""
        if self.table != data.table:
            raise UserError(
                f"dataset={data.dataset}: the columns or their training rows are not those that the model was "
                "trained on: restore the file."
            )

    def see_data(self, data: ImageDataModule, fresh: bool) -> None:
        """Read from the data what the model needs; called before training and before evaluation.

        `fresh`: training starts from the first step, so that parameters may be initialized from data.

        Raises:
            UserError: the data cannot be used with this model.
        """

    def held_out_metrics(self, batches: Callable[[], Iterable[Batch]]) -> dict[str, float]:
        """Metrics of all held-out images together, that are not means over images; by name, without a prefix."""
        return {}

    def densities(self, batch: Batch, noise: StepNoise) -> Densities | None:
        """p(x, z) and q(z|x) of these images, for a test likelihood; None for models without a likelihood."""
        return None

    def discriminator_logits(self, images: Tensor) -> Tensor | None:
        """How real the discriminator finds images: logits [B]; None for models without a discriminator of images."""
        return None

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        """Metrics of each held-out image [B], by name, without a prefix.

        By default, for models with an encoder: `squared_error`, summed over the values of an image, and
        `reconstruction_mse`, their mean.
        """
        if not self.can_encode:
            return {}
        errors = (self.reconstruct(batch.images, batch.labels) - batch.images).square().flatten(1)
        return {"squared_error": errors.sum(dim=1), "reconstruction_mse": errors.mean(dim=1)}

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        """Those of `test_metrics` that are measured on training images, too: the difference shows overfitting.

        They are recorded as `eval/NAME` and `eval/NAME_train`. What training minimizes is called `loss`.
        """
        return {}

    def complaints(self, metrics: dict[str, float]) -> list[str]:
        """Warnings about the metrics of an evaluation, such as a collapse."""
        return []

    # -- what users call -----------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(self, count: int, generator: torch.Generator | None = None, labels: Tensor | None = None) -> Tensor:
        """Images [count, C, H, W] in [0, 1] drawn from the prior.

        Args:
            count: the number of images.
            generator: draws the random numbers; a CPU generator gives the same ones on every device.
            labels: int64 [count], for a conditional model; None: drawn uniformly.
        """
        if self.table is not None:
            return self.sample_rows(count, generator)
        return self._images(self.sample_latents(count, generator, labels))

    @torch.no_grad()
    def reconstruct(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """The reconstructions [B, C, H, W] of images [B, C, H, W] in [0, 1]; labels int64 [B] if conditioned."""
        return self._images(self.labelled(self.encode(images, labels), labels))

    def _images(self, latents: Tensor) -> Tensor:
        """The decoded latents, after a check of their shape.

        Raises:
            UserError: `decode` gives another shape than the images of the data.
        """
        images = self.decode(latents).float()
        expected = (len(latents), *self.image_shape)
        if tuple(images.shape) != expected:
            raise UserError(
                f"{type(self).__name__}.decode gave the shape {tuple(images.shape)}, but images [B, C, H, W] are "
                f"{expected} here."
            )
        return images

    @property
    def on_sphere(self) -> bool:
        """Whether interpolations follow the sphere: the codes are drawn from N(0, I)."""
        return self.normal_prior and self.density is None

    @torch.no_grad()
    def interpolate(self, start: Tensor, end: Tensor, steps: int = 8) -> Tensor:
        """Images [B, steps, C, H, W] between latents `start` and `end` [B, Z (+ K)], both included.

        Codes move on the sphere if the prior is normal, see `along_sphere`, and otherwise on straight lines.
        """
        line = along_line(start, end, steps)
        if self.on_sphere:
            size = self.latent_dim
            line = torch.cat([along_sphere(start[:, :size], end[:, :size], steps), line[..., size:]], dim=2)
        return self.decode(line.flatten(0, 1)).float().unflatten(0, line.shape[:2])

    def fixed_generator(self) -> torch.Generator:
        """A generator with a fixed seed, so that every evaluation shows the same latents."""
        return torch.Generator().manual_seed(mix(self.seed, Stream.PICTURES))

    def class_name(self, index: int) -> str:
        """The name of a class of the data, for pictures."""
        return self.class_names[index] if index < len(self.class_names) else f"class {index}"

    @torch.no_grad()
    def pictures(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Picture]:
        """Pictures by name, with words for what they show.

        Args:
            images: held-out images [B, C, H, W] in [0, 1].
            labels: their labels, int64 [B], if there are any.
        """
        return general_pictures(self, images, labels)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(checkpoint)
        checkpoint["image_shape"] = list(self.image_shape)
        if self.table is not None:
            checkpoint["table"] = self.table.to_dict()
