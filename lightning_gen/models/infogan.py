"""InfoGAN (Chen et al. 2016): a GAN whose codes can be read from its images."""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot, pad

from lightning_gen.errors import UserError
from lightning_gen.models.discriminator import Judged, make_head
from lightning_gen.models.gan import GAN
from lightning_gen.models.latent_prior import draw_codes
from lightning_gen.networks.shapes import ImageShape
from lightning_gen.objectives.information import categorical_information, uniform_information
from lightning_gen.pictures import Grid, Picture
from lightning_gen.randomness import Noise
from lightning_gen.ranges import Count, Natural, NonNegative

COLUMNS = 10  # values of a continuous code in a picture of traversals
HIDDEN = 128  # units of Q's own layer, as in the authors' code


class InfoGAN(GAN):
    """A GAN that maximizes a lower bound on the mutual information of some of its codes and the image.

    The generator's input is [categorical codes, one-hot | continuous codes in [-1, 1) | noise]. Q(c|x) shares the
    discriminator's trunk and has a hidden layer of its own. Both players' losses lose the weighted bound on their
    generated images (Chen et al. 2016, eq. 6, and their code). `encode` gives what Q infers: probabilities of the
    categories, means of the continuous codes, and 0 for the noise.

    Args:
        image_shape: (C, H, W).
        latent_dim: the numbers of noise, which come in addition to the codes.
        categorical: the number of categories of each categorical code.
        continuous: the number of continuous codes.
        information_weights: of the bound for (categorical, continuous) codes.
        deviation: of Q's Gaussians: `fixed` at 1, as in the authors' MNIST recipe, or `learned`.
        gan: the other arguments of `GAN`.

    Raises:
        UserError: no codes, or a conditional model.
    """

    can_encode = True
    takes_tables = False

    def __init__(
        self,
        image_shape: ImageShape,
        latent_dim: Count = 62,
        categorical: tuple[Count, ...] = (10,),
        continuous: Natural = 2,
        information_weights: tuple[NonNegative, NonNegative] = (1.0, 1.0),
        deviation: Literal["fixed", "learned"] = "fixed",
        **gan: Any,
    ) -> None:
        self.sizes = [*categorical, continuous]
        if not sum(self.sizes):
            raise UserError("model=infogan needs codes: set model.categorical=[10] or model.continuous=2.")
        if gan.get("num_classes"):
            raise UserError("model=infogan finds categories without labels: set conditional=false.")
        super().__init__(image_shape, latent_dim=latent_dim + sum(self.sizes), **gan)
        self.categorical, self.continuous, self.noise_dim = list(categorical), continuous, latent_dim
        self.normal_prior = False
        self.information_weights, self.deviation = information_weights, deviation
        outputs = sum(self.sizes) + (continuous if deviation == "learned" else 0)
        hidden = make_head(self.discriminator.encoder, HIDDEN)
        self.discriminator.inference = nn.Sequential(hidden, nn.LeakyReLU(0.1), nn.Linear(HIDDEN, outputs))

    # -- codes ---------------------------------------------------------------------------------------------

    def draw(self, noise: Noise, count: int, truncation: float | None = None) -> Tensor:
        parts = []
        for size in self.categorical:
            index = (noise.uniform((count,), self.device) * size).long().clamp(max=size - 1)
            parts.append(one_hot(index, size))
        if self.continuous:
            parts.append(2 * noise.uniform((count, self.continuous), self.device) - 1)
        rest = draw_codes(self.latent_prior, noise, (count, self.noise_dim), self.device, truncation)
        return torch.cat([*(part.to(rest) for part in parts), rest], dim=1)

    def inferred(self, features: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Q(c|x) from the trunk's features [B, F]: the logits of each categorical code, means, log variances."""
        own: nn.Module = self.discriminator.inference  # type: ignore[assignment]
        learned = self.deviation == "learned"
        *logits, mean, rest = own(features).split([*self.sizes, self.continuous if learned else 0], dim=1)
        return logits, mean, rest if learned else torch.zeros_like(mean)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        logits, mean, _ = self.inferred(self.classify(images, labels).features)
        codes = torch.cat([*(one.softmax(dim=1) for one in logits), mean], dim=1)
        return pad(codes, (0, self.noise_dim))

    # -- the bound -----------------------------------------------------------------------------------------

    def with_generated_loss(self, loss: Tensor, judged: Judged, codes: Tensor) -> Tensor:
        """The loss minus the weighted lower bound on the mutual information, a scalar."""
        return loss + self.information_loss(judged, codes)

    def information_loss(self, judged: Judged, codes: Tensor) -> Tensor:
        """Minus the weighted lower bound on the mutual information, a scalar."""
        *own, numbers, _ = codes.split([*self.sizes, self.noise_dim], dim=1)
        logits, mean, log_variance = self.inferred(judged.features)
        bounds = [categorical_information(*pair).mean() for pair in zip(own, logits, strict=True)]
        loss = torch.zeros((), device=codes.device)
        if bounds:
            information = torch.stack(bounds).sum()
            self.log_scalars({"train/information_categorical": information})
            loss = loss - self.information_weights[0] * information
        if self.continuous:
            information = uniform_information(numbers, mean, log_variance).mean()
            self.log_scalars({"train/information_continuous": information})
            loss = loss - self.information_weights[1] * information
        return loss

    # -- pictures ------------------------------------------------------------------------------------------

    def pictures(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Picture]:
        """Also `categories`, a column for each category of the first code, and `traversals`.

        In each row of `traversals` one continuous code goes from -1 to 1.
        """
        pictures = super().pictures(images, labels)
        codes = self.sample_codes(8, self.fixed_generator())
        if self.categorical:
            size = self.categorical[0]
            table = codes.repeat_interleave(size, dim=0)
            table[:, :size] = torch.eye(size).to(codes).repeat(len(codes), 1)
            title = "A column for each category of the first code; the images of a row differ in nothing else"
            names = [f"category {index}" for index in range(size)]
            pictures["categories"] = Grid(self.decode(table).float(), size, title, names)
        if self.continuous:
            first, rows = sum(self.categorical), min(self.continuous, 8)
            table = codes[:1].repeat(rows, COLUMNS, 1)
            values = torch.linspace(-1, 1, COLUMNS).to(codes)
            table[range(rows), :, range(first, first + rows)] = values
            pictures["traversals"] = Grid(
                self.decode(table.flatten(0, 1)).float(),
                COLUMNS,
                "Traversals: in each row one continuous code goes from -1 to 1",
                [f"{value:+.2f}" for value in values.tolist()],
                [f"continuous code {index + 1}" for index in range(rows)],
            )
        return pictures
