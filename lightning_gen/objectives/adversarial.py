"""Adversarial losses: each class gives the discriminator's and the generator's loss per image [B], from logits.

`real` and `fake` are the discriminator's logits [B] on real and on generated images. The generator's loss also gets
the logits on real images, without a gradient; only the relativistic losses use them.
"""

import math
from abc import ABC, abstractmethod

from torch import Tensor
from torch.nn import functional as F

from lightning_gen.distributed import mean_over_processes


class AdversarialLoss(ABC):
    """Base class of the losses, with three flags that say how to read their logits.

    `log_odds`: the logit is the log odds of being real, so that D(x) = sigmoid(logit) is a probability and the
    Jensen-Shannon estimate is defined. `paired`: the generator's loss compares generated images with the same number
    of real ones. `threshold`: the decision boundary: an image with a higher logit counts as real. None where only
    differences between logits have a meaning.
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

    def inverse(self, real: Tensor, fake: Tensor) -> Tensor:
        """The loss [B] of an encoder and a generator, who want real to be taken for generated and the reverse.

        Both logits give gradients. It is the generator's loss on generated pairs, plus the same on real ones with
        their logits mirrored at the decision boundary (Donahue et al. 2017, sec. 3.4); a loss that compares pairs is
        the generator's alone.
        """
        if self.paired:
            return self.generator(fake, real)
        return self.generator(fake) + self.generator(2 * (self.threshold or 0.0) - real)

    def accuracy(self, real: Tensor, fake: Tensor) -> Tensor:
        """The accuracy of each pair [B]: the mean over its real and its generated image.

        Without a decision boundary, 1 where the real image has the higher logit and 0 elsewhere.
        """
        if self.threshold is None:
            return (real > fake).float()
        return ((real > self.threshold).float() + (fake < self.threshold).float()) / 2

    def diagnostics(self, real: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Scalars to log, from logits [B]: the accuracy and the mean logits.

        Where logits are log odds: mean probabilities instead of mean logits, and the Jensen-Shannon estimate.
        """
        scalars = {"train/d_accuracy": self.accuracy(real, fake).mean()}
        if not self.log_odds:
            return scalars | {"train/logit_real": real.mean(), "train/logit_fake": fake.mean()}
        probabilities = {"train/d_real": real.sigmoid().mean(), "train/d_fake": fake.sigmoid().mean()}
        return scalars | probabilities | {"train/js_estimate": jensen_shannon(real, fake)}


class NonSaturating(AdversarialLoss):
    """The minimax discriminator, and a generator that maximizes log D(G(z)) (Goodfellow et al. 2014, sec. 3).

    With D = sigmoid(logit), log D = -softplus(-logit) and log(1 - D) = -softplus(logit): stable for any logit.
    """

    log_odds = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log D(x) - log(1 - D(G(z))); 2 log 2 where D = 1/2 everywhere."""
        return F.softplus(-real) + F.softplus(fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """-log D(G(z)); log 2 where D = 1/2."""
        return F.softplus(-fake)


class Minimax(NonSaturating):
    """The minimax game: the generator minimizes what the discriminator maximizes (Goodfellow et al. 2014, eq. 1).

    The generator's gradient vanishes where the discriminator is certain; the non-saturating loss avoids this.
    """

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """log(1 - D(G(z))); -log 2 where D = 1/2."""
        return -F.softplus(fake)


class LeastSquares(AdversarialLoss):
    """Least squares: the discriminator's targets are 1 for real and 0 for generated images; the generator's is 1.

    These are the targets of Mao et al. 2017, eq. 9, chosen for practice. With other targets, and an optimal
    discriminator, the generator minimizes a Pearson chi-squared divergence (sec. 3.2.2).
    """

    threshold = 0.5

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (real - 1).square() + 0.5 * fake.square()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return 0.5 * (fake - 1).square()


class Hinge(AdversarialLoss):
    """max(0, 1 - D(x)) + max(0, 1 + D(G(z))); the generator minimizes -D(G(z)) (Lim & Ye 2017, eq. 10)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real) + F.relu(1 + fake)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake


class Wasserstein(AdversarialLoss):
    """E D(G(z)) - E D(x): minus a 1-Lipschitz critic's estimate of the Wasserstein-1 distance (Arjovsky et al. 2017,
    eq. 2).

    The loss does not make the critic Lipschitz: add a gradient penalty, weight clipping or spectral normalization.
    Adding a constant to the critic changes nothing, so there is no decision boundary.
    """

    threshold = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake - real

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        return -fake


class RelativisticPaired(AdversarialLoss):
    """Relativistic pairing: classifies which image of a pair is real (Jolicoeur-Martineau 2019, eq. 9).

    It is the loss of R3GAN (Huang et al. 2024).
    """

    paired = True
    threshold = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake - real)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        assert real is not None
        return F.softplus(real - fake)


class RelativisticAverage(RelativisticPaired):
    """Relativistic average: compares each image with the mean of the other kind (Jolicoeur-Martineau 2019, eq. 15).

    The means are over the images of all processes.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        mean_real, mean_fake = (mean_over_processes(logits.mean()) for logits in (real, fake))
        return F.softplus(mean_fake - real) + F.softplus(fake - mean_real)

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        assert real is not None
        return self.discriminator(fake, real)


def jensen_shannon(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's estimate of the Jensen-Shannon divergence, from its log odds [B]: a scalar, in nats.

    It is (log 4 + V) / 2 with V = E log D(x) + E log(1 - D(G(z))) (Goodfellow et al. 2014, theorem 1), a lower bound
    on the true divergence that is tight for the optimal discriminator, so at most log 2. It is 0 for D = 1/2
    everywhere, and negative for a discriminator worse than that.
    """
    value = -F.softplus(-real).mean() - F.softplus(fake).mean()
    return (math.log(4) + value) / 2
