"""Adversarial losses on logits: each class holds the two players' losses, per image [B].

`real` and `fake` are the discriminator's logits [B] on real and on generated images. The generator's loss gets the
real ones too, without a gradient, but only the relativistic losses look at them.
"""

import math
from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn import functional as F

from lightning_gen.distributed import mean_over_processes


class AdversarialLoss(ABC):
    """What the losses share: how their logits are read.

    `log_odds`: the logit is the log odds of being real, so that D(x) = sigmoid(logit) and the Jensen-Shannon estimate
    have a meaning. `paired`: the generator's loss compares with real images, as many as generated ones. `threshold`:
    the decision boundary, the logit above which an image passes for real; None where only differences count.
    """

    log_odds = False
    paired = False
    threshold: float | None = 0.0

    @abstractmethod
    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss [B]."""

    @abstractmethod
    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """The generator's loss [B]."""

    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """The share [B] of right answers, half for each kind of image; without a boundary, of pairs in order."""
        if self.threshold is None:
            return (real > fake).float()
        return ((real > self.threshold).float() + (fake < self.threshold).float()) / 2

    def diagnostics(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """What logits [B] say, for the log: their means, the accuracy, and what they mean where they are log odds."""
        scalars = {"train/d_accuracy": self.accuracy(real, fake).mean()}
        if not self.log_odds:
            return scalars | {"train/logit_real": real.mean(), "train/logit_fake": fake.mean()}
        probabilities = {"train/d_real": real.sigmoid().mean(), "train/d_fake": fake.sigmoid().mean()}
        return scalars | probabilities | {"train/js_estimate": jensen_shannon(real, fake)}


class NonSaturating(AdversarialLoss):
    """The minimax discriminator, and the generator that maximizes log D(G(z)) (Goodfellow et al. 2014, sec. 3).

    With D = sigmoid(logit): log D = -softplus(-logit) and log(1 - D) = -softplus(logit), stable for any logit.
    """

    log_odds = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log D(x) - log(1 - D(G(z))); 2 log 2 for a discriminator that cannot tell."""
        return F.softplus(-real) + F.softplus(fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """-log D(G(z)); log 2 for a discriminator that cannot tell."""
        return F.softplus(-fake)


class Minimax(NonSaturating):
    """The game as it is written: both players move the same value V (Goodfellow et al. 2014, eq. 1, algorithm 1).

    The generator's gradient vanishes where the discriminator is sure, which is what the non-saturating loss cures.
    """

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """log(1 - D(G(z))); -log 2 for a discriminator that cannot tell."""
        return -F.softplus(fake)


class LeastSquares(AdversarialLoss):
    """Real images are to score 1 and generated ones 0, the generator wants 1 (Mao et al. 2017, eq. 9).

    At the optimum of the discriminator the generator minimizes a Pearson chi-squared divergence for other targets
    (sec. 3.2.2); with these it is their practical choice.
    """

    threshold = 0.5

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (real - 1).square() + 0.5 * fake.square()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * (fake - 1).square()


class Hinge(AdversarialLoss):
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))), and the generator maximizes its score (Lim & Ye 2017, eq. 10)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real) + F.relu(1 + fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake


class Wasserstein(AdversarialLoss):
    """E D(G(z)) - E D(x): the negative Wasserstein-1 estimate of a 1-Lipschitz critic (Arjovsky et al. 2017, eq. 2).

    The loss does not make the critic Lipschitz: a penalty, weight clipping or spectral norm must. It is the same for
    a critic plus any constant, so no logit divides real from generated images.
    """

    threshold = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake - real

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake


class RelativisticPaired(AdversarialLoss):
    """Is this real image more real than that generated one? (Jolicoeur-Martineau 2019, eq. 9; R3GAN's loss.)"""

    paired = True
    threshold = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        assert real is not None
        return F.softplus(real - fake)


class RelativisticAverage(RelativisticPaired):
    """Is it more real than the mean of the other kind? (Jolicoeur-Martineau 2019, eq. 15.)

    The means are over the images of all devices.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        mean_real, mean_fake = (mean_over_processes(logits.mean()) for logits in (real, fake))
        return F.softplus(mean_fake - real) + F.softplus(fake - mean_real)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        assert real is not None
        return self.discriminator(fake, real)


def jensen_shannon(real: Tensor, fake: Tensor) -> Tensor:
    """The Jensen-Shannon divergence that a discriminator's log odds imply: a scalar, in nats.

    (log 4 + V) / 2, V = E log D(x) + E log(1 - D(G(z))) (Goodfellow et al. 2014, theorem 1): no more than the true
    divergence for any discriminator, equal to it for the best one, so at most log 2. 0 is what a discriminator that
    cannot tell shows, V = -log 4; a worse one shows less than 0.
    """
    value = -F.softplus(-real).mean() - F.softplus(fake).mean()
    return (math.log(4) + value) / 2
