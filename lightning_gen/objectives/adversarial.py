"""Adversarial losses on logits: each class holds the two players' losses, per image [B], in nats.

`real` and `fake` are the discriminator's logits [B] on real and on generated images.
"""

from torch import Tensor
from torch.nn import functional as F


class NonSaturating:
    """The minimax discriminator, and the generator that maximizes log D(G(z)) (Goodfellow et al. 2014, sec. 3).

    With D = sigmoid(logit): log D = -softplus(-logit) and log(1 - D) = -softplus(logit), stable for any logit.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log D(x) - log(1 - D(G(z))); 2 log 2 for a discriminator that cannot tell."""
        return F.softplus(-real) + F.softplus(fake)

    def generator(self, fake: Tensor) -> Tensor:
        """-log D(G(z)); log 2 for a discriminator that cannot tell."""
        return F.softplus(-fake)
