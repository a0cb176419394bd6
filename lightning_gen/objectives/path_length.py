"""Path-length regularization of a generator with styles (Karras et al. 2020, "Analyzing and improving", sec. 3.2)."""

import torch
from torch import Tensor

from lightning_gen.distributed import mean_over_processes
from lightning_gen.objectives.penalties import DiscriminatorPass, GeneratorPass, Penalty
from lightning_gen.ranges import Count, NonNegative, PositiveFraction


class PathLength(Penalty):
    """weight (||J^T y|| - a)^2, with the Jacobian J of the image by the styles, y ~ N(0, I), and a running mean a.

    J^T y is the gradient of <image, y> by the styles; its norm is the root mean square over layers. Images are in
    [-1, 1] and y is divided by the root of the number of pixels, as in the authors' code.

    Args:
        weight: of the penalty.
        interval: it is computed at every this many updates of the generator, and then counts as many times.
        decay: the part of the way that a goes to the mean length of a batch.
        share: the part of the batch that it is computed on: 0.5 takes every second latent.
    """

    takes = GeneratorPass
    mean_length: Tensor

    def __init__(
        self,
        weight: NonNegative = 2.0,
        interval: Count = 4,
        decay: PositiveFraction = 0.01,
        share: PositiveFraction = 0.5,
    ) -> None:
        super().__init__(weight, interval)
        self.decay, self.share = decay, share
        self.register_buffer("mean_length", torch.zeros(()))

    def forward(self, seen: DiscriminatorPass | GeneratorPass) -> Tensor:
        assert isinstance(seen, GeneratorPass)
        styles = seen.styles(seen.latents[:: round(1 / self.share)])  # [B, L, D]
        images = seen.images(styles)
        y = seen.noise.normal(images.shape, images.device).to(images.dtype) / images[0, 0].numel() ** 0.5
        (gradient,) = torch.autograd.grad((images * y).sum(), styles, create_graph=True)
        lengths = gradient.square().sum(dim=2).mean(dim=1).sqrt()
        mean = torch.lerp(self.mean_length.to(lengths.dtype), mean_over_processes(lengths.mean()), self.decay)
        self.mean_length.copy_(mean.detach())
        return self.weight * (lengths - mean).square()
