"""The discriminator's loss in private training (DP-SGD); the generator sees real images only through it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lightning_gen.networks.spectral import follow_weights
from lightning_gen.randomness import Noise

if TYPE_CHECKING:
    from lightning_gen.models.gan import GAN


def private_discriminator_loss(model: GAN, real: Tensor, index: int) -> Tensor:
    """A scalar with the private gradient of the losses of pairs, each of a real and a generated image.

    An image contributes its pair alone, so the clipped gradient of the pair bounds what the image can change.

    Args:
        model: a GAN in private training.
        real: a Poisson sample of the training images [B, C, H, W], which may be empty.
        index: the number of the discriminator's update.
    """
    assert model.private is not None
    with torch.no_grad():
        fake = model.fakes(max(len(real), 1), None)[0][: len(real)]
    follow_weights(model.discriminator, iterations=1)  # spectral norm's power iteration, if there is one

    def loss(noise: Noise, of_real: Tensor, of_fake: Tensor) -> Tensor:
        logits = [model.classify(image.unsqueeze(0), None).logits for image in (of_real, of_fake)]
        return model.loss.discriminator(*logits).squeeze(0)

    return model.log_private(*model.private(model.discriminator, loss, (real, fake), model.noise, index))
