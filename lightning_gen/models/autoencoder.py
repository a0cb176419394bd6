"""The autoencoder (Hinton & Salakhutdinov 2006)."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from lightning_gen.data.loader import Batch
from lightning_gen.models.base import DecoderFactory, EncoderFactory, GenerativeModel, OptimizerFactory
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.precision import full_precision


class GaussianDensity(nn.Module):
    """A Gaussian with full covariance in code space, fitted to codes, to sample an autoencoder from."""

    mean: Tensor
    scale: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("scale", torch.eye(dim))  # a square root of the covariance

    def fit(self, codes: Tensor) -> None:
        """Maximum likelihood for codes [N, Z], in float64; a degenerate covariance is allowed."""
        codes = codes.double().cpu()
        self.mean.copy_(codes.mean(dim=0))
        values, vectors = torch.linalg.eigh(torch.cov(codes.T, correction=0).reshape(codes.shape[1], -1))
        self.scale.copy_(vectors * values.clamp_min(0).sqrt())

    def forward(self, noise: Tensor) -> Tensor:
        """Codes [N, Z] from standard normal noise [N, Z]."""
        return self.mean + noise @ self.scale.T


class Autoencoder(GenerativeModel):
    """Minimizes the squared error, summed over pixels, averaged over images.

    The decoder's raw output goes through a sigmoid, so that reconstructions lie in [0, 1]. An autoencoder has no
    prior: to sample, codes are drawn from a Gaussian with full covariance that is fitted to the codes of
    training images (Ghosh et al. 2020, sec. 4, with one component).
    """

    encodes = True
    fits_latents = True

    def __init__(
        self,
        image_shape: ImageShape,
        encoder: EncoderFactory,
        decoder: DecoderFactory,
        optimizer: OptimizerFactory,
        latent_dim: int = 32,
        seed: int = 0,
    ) -> None:
        super().__init__(image_shape, latent_dim, seed)
        self.make_optimizer = optimizer
        self.encoder = encoder(image_shape=image_shape)
        self.code = nn.Linear(self.encoder.num_features, latent_dim)  # type: ignore[arg-type]
        self.decoder = decoder(latent_dim=latent_dim, image_shape=image_shape)
        self.density = GaussianDensity(latent_dim)

    def encode(self, images: Tensor) -> Tensor:
        return self.code(self.encoder(images))  # [B, Z]

    def decode(self, latents: Tensor) -> Tensor:
        return self.decoder(latents).sigmoid()

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {
            "encoder": self.encoder,
            "code": self.code,
            "decoder": self.decoder,
        }  # the density is fitted anew

    def sample_latents(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return self.density(self.standard_normal(count, generator))

    @torch.no_grad()
    def fit_latents(self, batches: Callable[[], Iterable[Batch]]) -> None:
        self.density.fit(torch.cat([self.encode(batch.images).float() for batch in batches()]))

    def squared_error(self, images: Tensor) -> Tensor:
        """||x - x'||^2 per image, summed over pixels, [B]."""
        return (full_precision(self.decode(self.encode(images))) - images).square().flatten(1).sum(dim=1)

    def test_metrics(self, batch: Batch, noise: object) -> dict[str, Tensor]:
        error = self.squared_error(batch.images)
        return {"squared_error": error, "reconstruction_mse": error / batch.images[0].numel()}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.count_images(batch)
        loss = self.squared_error(batch.images).mean()
        self.scalars = {"train/loss": loss.detach()}
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer(self.parameters())
