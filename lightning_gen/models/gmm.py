"""The Gaussian mixture: a density of images that is known exactly."""

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from pytorch_lightning import Trainer
from torch import Tensor

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.placement import free_host_memory
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel, OptimizerFactory
from lightning_gen.models.expectation_maximization import Init, iterate, start
from lightning_gen.models.principal_subspace import PrincipalSubspace, default_dims
from lightning_gen.networks.shapes import POINTS, ImageShape
from lightning_gen.objectives.densities import Densities
from lightning_gen.objectives.discrete_likelihoods import bits_per_dimension
from lightning_gen.objectives.priors import Covariance, Mixture
from lightning_gen.pictures import Grid, Picture, Points
from lightning_gen.randomness import GeneratorNoise, Noise, StepNoise
from lightning_gen.ranges import Count, NonNegative, Positive

MOST_SHOWN = 64  # means in the picture of the components
CPU = torch.device("cpu")


class GMM(GenerativeModel):
    """p(x) = sum_k w_k N(x; mu_k, Sigma_k), fitted by maximum likelihood, in nats per image.

    With `pca_dims` the mixture is of the first principal components of the training images, and each of the other
    directions has the same Gaussian noise, as in probabilistic PCA (`PrincipalSubspace`): so log p(x) is a density of
    pixels in any case, and exact. Samples and pictures are without this noise, as a sample of a VAE is the mean of
    p(x|z). Both fits start from the clusters that `init` finds in the training images.

    - `fit=em`: a training step is one iteration of expectation maximization over all training images, with
      scikit-learn, in float64 and in one process. It is a function of the mixture and of the images only, so a
      resumed run continues to the bit. The images are used as they are stored, and dequantized once; `images_seen`
      counts all of them in each step. Training ends when an iteration gains less than `tolerance` nats per image, or
      at `trainer.max_steps`.
    - `fit=gradient`: a training step lowers -log p of a batch with the optimizer, on any number of processes.

    The networks of the config are not used. All numbers are float64.

    Args:
        components: K.
        covariance: `full`, `tied`, `diagonal` or `spherical`; see `Mixture`.
        pca_dims: the number of principal components; None: none, the mixture is of pixels; `auto`: 50 for images of
            more than 50 numbers.
        fit: `em` or `gradient`.
        init: how the clusters are found, with scikit-learn.
        tolerance: of `em`, in nats per image.
        min_sigma: the smallest standard deviation; a density of 8-bit pixels could otherwise be infinite. `em` adds
            its square to the variances; `gradient` has it as the smallest one given the dimensions before.

    Raises:
        UserError: options or data that do not go together, see the message.
    """

    monitor = ("eval/loss", "min")
    takes_tables = True
    _previous: Tensor
    _converged: Tensor

    def __init__(
        self,
        image_shape: ImageShape,
        optimizer: OptimizerFactory,
        components: Count = 10,
        covariance: Covariance = "full",
        pca_dims: Literal["auto"] | Count | None = "auto",
        fit: Literal["em", "gradient"] = "em",
        init: Init = "kmeans",
        tolerance: NonNegative = 1e-3,
        min_sigma: Positive = 1e-3,
        encoder: Any = None,
        decoder: Any = None,
        seed: int = 0,
    ) -> None:
        pixels = math.prod(image_shape)
        dims = default_dims(pixels) if pca_dims == "auto" else pca_dims
        if dims is not None and dims >= pixels:
            raise UserError(
                f"model.pca_dims={dims} is not below {pixels}, the number of values: set it lower, or to null."
            )
        space = PrincipalSubspace(pixels, dims)
        super().__init__(image_shape, space.size, seed)
        self.space = space
        self.mixture = Mixture(space.size, image_shape, components, covariance).double()
        self.em, self.init, self.tolerance, self.min_variance = fit == "em", init, tolerance, min_sigma**2
        self.make_optimizer = optimizer
        self.dequantized = False
        self._training_images: Callable[[], Tensor] | None = None  # all of them, set by `see_data`
        self._codes: Tensor | None = None  # of all training images, for em
        self._outside = 0.0  # mean log p of these images in the directions outside of the principal components
        self.register_buffer("_previous", torch.tensor(-math.inf).double())  # mean log p before the last iteration
        self.register_buffer("_converged", torch.tensor(False))
        self.automatic_optimization = not self.em

    # -- the density -----------------------------------------------------------------------------------------

    def log_prob(self, images: Tensor) -> Tensor:
        """log p(x) of images [B, C, H, W]: [B], float64, in nats."""
        codes = self.space.codes(images)
        return self.mixture.log_prob(codes) + self.space.log_prob_outside(images, codes)

    def codes_from(self, noise: Noise, count: int) -> Tensor:
        normal = noise.normal((count, self.latent_dim), self.device)
        return self.mixture(normal.double(), noise.uniform((count,), self.device).double())

    def decode(self, latents: Tensor) -> Tensor:
        images = self.space.images(latents).view(-1, *self.image_shape)
        return images.clamp(0, 1) if self.table is None else images

    def sample_rows(self, count: int, generator: torch.Generator | None) -> Tensor:
        """Draws from p(x), with the noise outside of the principal components."""
        return self.simulated(count, GeneratorNoise(generator)).float()

    def densities(self, batch: Batch, noise: StepNoise) -> Densities:
        log_prob = self.log_prob(batch.images)
        return Densities(
            shape=(len(batch.images), 0),
            draw=lambda noise: (noise, noise.sum(dim=-1)),
            log_prior=lambda latents: latents.sum(dim=-1),
            log_likelihood=lambda latents: log_prob + latents.sum(dim=-1),
            draw_prior=lambda normal, uniform: normal,
            simulate=lambda latents, noise: self.simulated(len(latents), noise),
            values=batch.images[0].numel(),
            discrete=False if self.dequantized else None,
        )

    def simulated(self, count: int, noise: Noise) -> Tensor:
        """Draws from p(x) [count, C, H, W], with the noise outside of the principal components, not clamped."""
        codes = self.mixture(
            noise.normal((count, self.latent_dim), self.device).double(),
            noise.uniform((count,), self.device).double(),
        )
        images = self.space.noisy(codes, noise.normal((count, self.space.pixels), self.device))
        return images.view(-1, *self.image_shape)

    # -- training --------------------------------------------------------------------------------------------

    def see_data(self, data: ImageDataModule, fresh: bool) -> None:
        self.dequantized, changes = data.batch_transform.dequantize, data.batch_transform
        if self.em and (changes.flip or changes.window or changes.mutation or changes.binarize):
            raise UserError(
                "model.fit=em uses each training image as it is stored: set dataset.flip=false, dataset.mutation=0, "
                "dataset.random_crop=null and dataset.binarize=none or static, or model.fit=gradient."
            )
        count = len(data.train)
        self._training_images = lambda: torch.cat([b.images for b in data.train_batches(CPU, limit=count)])
        if not fresh:
            return
        components = len(self.mixture.logits)
        if components >= count:
            raise UserError(
                f"model.components={components} is too many for {count} training {data.unit}: set it lower."
            )
        needed = count * (12 * self.space.pixels + 8 * self.latent_dim)
        if needed > free_host_memory():
            raise UserError(
                f"model=gmm starts from all {count:,} training {data.unit} at once, for which {needed / 1e9:.1f} GB "
                "of memory are not free: set dataset.limit."
            )
        images = self._training_images()
        self.space.fit(images, self.min_variance)
        codes = self._encoded(images)
        start(self.mixture, codes, self.min_variance, self.init, self.seed, self.unit)
        self._codes = codes if self.em else None

    def _encoded(self, images: Tensor) -> Tensor:
        """The codes of all training images; sets `_outside`."""
        codes = self.space.codes(images)
        self._outside = float(self.space.log_prob_outside(images, codes).mean())
        return codes

    def check_training(self, trainer: Trainer) -> None:
        super().check_training(trainer)
        if trainer.strategy.root_device.type == "mps":
            raise UserError("model=gmm computes in float64, which MPS does not have: set hardware=cpu.")
        if self.em and trainer.world_size > 1:
            raise UserError(
                "model.fit=em runs in one process: set trainer.devices=1 and trainer.num_nodes=1, or "
                "model.fit=gradient."
            )
        if self.em and trainer.precision == "16-mixed":
            raise UserError("model.fit=em computes in float64: set trainer.precision=32-true.")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        if self.em:  # Lightning counts its steps; it changes nothing
            return torch.optim.SGD(self.parameters(), lr=0.0)
        return self.make_optimizer(self.parameters())

    def on_train_start(self) -> None:
        super().on_train_start()
        if self._converged:
            self.trainer.should_stop = True

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        if self.em:
            self.em_step()
            return None
        self.count_images(batch)
        with torch.no_grad():
            self.mixture.log_variances.clamp_(min=math.log(self.min_variance))
        loss = -self.log_prob(batch.images).mean()
        self.log_scalars({"train/loss": loss.float()})
        return loss

    @torch.no_grad()
    def em_step(self) -> None:
        """One iteration over all training images; its loss is that of the mixture before it."""
        if self._codes is None:
            assert self._training_images is not None
            self._codes = self._encoded(self._training_images().to(self.device)).cpu()
        found = iterate(self.mixture, self._codes, self.min_variance, self.unit)
        self._converged.fill_(found - float(self._previous) < self.tolerance)
        self._previous.fill_(found)
        self.images_seen += len(self._codes)
        self.log_scalars({"train/loss": torch.tensor(-found - self._outside)})
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        optimizer.step()
        if self._converged:
            self.trainer.should_stop = True

    # -- evaluation ------------------------------------------------------------------------------------------

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        log_prob = self.log_prob(batch.images).float()
        metrics = {"loss": -log_prob}
        if self.dequantized:
            bits = bits_per_dimension(log_prob, batch.images[0].numel(), density=True)
            metrics["bits_per_dim_dequantized"] = bits
        return metrics

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        return {"loss": self.test_metrics(batch, noise)["loss"]}

    @torch.no_grad()
    def pictures(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Picture]:
        if self.table is not None:
            return super().pictures(images, labels)
        weights, order = self.mixture.log_weights.exp().sort(descending=True)
        means, count = self.decode(self.mixture.means[order]).float(), len(order)
        if tuple(self.image_shape) == POINTS:
            title = f"The means of {count} components, and real points"
            shown: Picture = Points({"means": means.flatten(1)}, title, images.flatten(1))
        else:
            which = f"the {MOST_SHOWN} heaviest of {count}" if count > MOST_SHOWN else f"{count}"
            captions = [f"{weight:.1%}" for weight in weights[:MOST_SHOWN].tolist()]
            title = f"The means of {which} components, with their weights"
            shown = Grid(means[:MOST_SHOWN], min(8, count), title, captions=captions)
        return super().pictures(images, labels) | {"components": shown}
