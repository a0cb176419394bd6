"""The ELBO with a gradient whose variance vanishes at the exact posterior (Roeder et al. 2017)."""

from typing import ClassVar

from torch import Tensor

from lightning_gen.objectives.bounds import ELBO, Terms
from lightning_gen.ranges import Count


class StickingTheLanding(ELBO):
    """The negative ELBO, -E_q[log p(x, z) - log q(z|x)], with the path derivative as the encoder's gradient.

    The value is that of the ELBO with a sampled KL. log q(z|x) gives no gradient to the posterior's parameters
    (`stops_q`), so the encoder's gradient comes through the latents alone. What is left out, the score function, has
    expectation 0 but a variance. Where q is the exact posterior, log p(x, z) - log q(z|x) does not depend on z, and
    the encoder's gradient is 0 for each draw. Source: Roeder et al. 2017, eq. 8, algorithm 1.
    """

    choice: ClassVar[str] = "sticking_the_landing"
    densities = True
    stops_q = True
    needs_gaussian = True

    def __init__(self, samples: Count = 1) -> None:
        super().__init__(1.0, samples)

    def __call__(self, terms: Terms) -> Tensor:
        return -terms.log_weights.mean(dim=0)
