"""The privacy loss of DP-SGD: from noise, sampling rate and number of updates to (epsilon, delta).

Two data sets are neighbours if one has one image more. Each update uses each image with probability `rate`,
independently (Poisson sampling), and adds Gaussian noise to the sum of clipped gradients. The loss is counted by
Renyi differential privacy (Mironov et al. 2019, "Renyi differential privacy of the sampled Gaussian mechanism"), with
the conversion of Balle et al. (2020, theorem 21). Opacus computes it.
"""

from collections.abc import Callable

from lightning_gen.errors import UserError

ORDERS = [1 + order / 10 for order in range(1, 100)] + [*range(11, 64), 128, 256, 512]
LARGEST_NOISE = 1e4
TOLERANCE = 1e-3  # relative, of the noise


def epsilon_of(noise_multiplier: float, rate: float, delta: float) -> Callable[[int], float]:
    """A function from the number of updates to epsilon.

    Args:
        noise_multiplier: standard deviation of the noise divided by the largest norm of a gradient; above 0.
        rate: the probability that an update uses an image, above 0 and at most 1.
        delta: the probability that the bound does not hold.

    Raises:
        UserError: Opacus is not installed.
    """
    rdp = _opacus()
    per_update = rdp.compute_rdp(q=rate, noise_multiplier=noise_multiplier, steps=1, orders=ORDERS)

    def epsilon(updates: int) -> float:
        if updates == 0:
            return 0.0
        return float(rdp.get_privacy_spent(orders=ORDERS, rdp=per_update * updates, delta=delta)[0])

    return epsilon


def noise_for(epsilon: float, rate: float, updates: int, delta: float) -> float:
    """The smallest noise multiplier with which `updates` updates stay within `epsilon`, to a thousandth.

    Raises:
        UserError: no noise is enough, or Opacus is not installed.
    """
    low, high = 0.0, 1.0
    while epsilon_of(high, rate, delta)(updates) > epsilon:
        low, high = high, 2 * high
        if high > LARGEST_NOISE:
            raise UserError(
                f"privacy.epsilon={epsilon:g} cannot be kept with privacy.delta={delta:.2g}: allow more, or train "
                "less: trainer.max_steps, dataset.batch_size."
            )
    while high - low > TOLERANCE * high:
        middle = (low + high) / 2
        if epsilon_of(middle, rate, delta)(updates) > epsilon:
            low = middle
        else:
            high = middle
    return high


def _opacus():  # type: ignore[no-untyped-def]  # the module has no types
    try:
        from opacus.accountants.analysis import rdp
    except ImportError as error:
        raise UserError("privacy=dp_sgd needs Opacus: `pip install 'lightning-gen[privacy]'`.") from error
    return rdp
