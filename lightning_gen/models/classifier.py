"""A classifier on the codes of an encoder, which is frozen or fine-tuned (Vincent et al. 2010, sec. 6)."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_gen.data.loader import Batch
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel, OptimizerFactory
from lightning_gen.models.pretraining import Corruption
from lightning_gen.networks.precision import full_precision
from lightning_gen.objectives.corruption import random_shift
from lightning_gen.pictures import Picture
from lightning_gen.randomness import StepNoise


class Classifier(GenerativeModel):
    """Softmax regression on the codes of `source`, a model with an encoder; minimizes the cross entropy.

    Args:
        freeze: keep the encoder's weights; otherwise they are trained too.
        corruption: applied to training images.
        max_shift: the largest random shift of training images, in pixels.
        dropout: the dropout probability of the codes.

    Raises:
        UserError: a source without an encoder, or one that is conditioned on the class.
    """

    can_sample = False
    needs_labels = True
    monitor = ("eval/accuracy", "max")

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        source: GenerativeModel,
        optimizer: OptimizerFactory,
        num_classes: int,
        freeze: bool = False,
        corruption: Corruption | None = None,
        max_shift: int = 0,
        dropout: float = 0.0,
        seed: int = 0,
        **networks: Any,  # not used: the source has its own networks
    ) -> None:
        super().__init__(image_shape, source.latent_dim, seed)
        if not source.can_encode:
            raise UserError("encoder_from needs a run whose model encodes, such as model=ae or model=vae.")
        if source.num_classes:
            raise UserError("encoder_from needs a run without conditional=true: codes must not contain the class.")
        self.make_optimizer, self.freeze_source = optimizer, freeze
        self.corruption, self.max_shift = corruption or None, max_shift
        self.source = source
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(source.latent_dim, num_classes))
        used = [] if freeze else encoder_parameters(source, image_shape)
        for parameter in source.parameters():
            parameter.requires_grad = any(parameter is one for one in used)

    def encode(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        return self.source.encode(images)

    def forward(self, images: Tensor) -> Tensor:
        """Class logits [B, K]."""
        return self.head(self.encode(images))

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self.freeze_source:
            self.source.eval()  # no dropout, and fixed statistics of batch normalization
        return self

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        self.count_images(batch)
        images = random_shift(batch.images, self.noise, self.max_shift) if self.max_shift else batch.images
        if self.corruption is not None:
            images = self.corruption(images, self.noise)
        assert batch.labels is not None
        logits = full_precision(self(images))
        loss = F.cross_entropy(logits, batch.labels)
        accuracy = (logits.argmax(dim=1) == batch.labels).float().mean()
        self.log_scalars({"train/loss": loss, "train/accuracy": accuracy})
        return loss

    def test_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        assert batch.labels is not None
        logits = full_precision(self(batch.images))
        return {
            "accuracy": (logits.argmax(dim=1) == batch.labels).float(),
            "cross_entropy": F.cross_entropy(logits, batch.labels, reduction="none"),
        }

    def overfitting_metrics(self, batch: Batch, noise: StepNoise) -> dict[str, Tensor]:
        return self.test_metrics(batch, noise)

    def pictures(self, images: Tensor, labels: Tensor | None = None) -> dict[str, Picture]:
        return {}

    def averaged_modules(self) -> dict[str, nn.Module]:
        return {"head": self.head} if self.freeze_source else {"source": self.source, "head": self.head}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.make_optimizer([p for p in self.parameters() if p.requires_grad])


def encoder_parameters(model: GenerativeModel, image_shape: tuple[int, int, int]) -> list[Tensor]:
    """The parameters that a model's codes depend on: those that get a gradient from them."""
    parameters, modes = list(model.parameters()), [(module, module.training) for module in model.modules()]
    with torch.enable_grad():
        codes = model.eval().encode(torch.zeros(2, *image_shape))
        gradients = torch.autograd.grad(codes.sum(), parameters, allow_unused=True)
    for module, training in modes:
        module.training = training
    return [p for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None]
