"""Expectation maximization (Dempster et al. 1977) of a Gaussian mixture, with scikit-learn, by single iterations."""

import warnings
from typing import Any, Literal

import torch
from torch import Tensor

from lightning_gen.data.words import IMAGES
from lightning_gen.errors import UserError
from lightning_gen.models.latent_density import threads_for
from lightning_gen.objectives.posteriors import DiagonalGaussian
from lightning_gen.objectives.priors import Mixture

Init = Literal["kmeans", "k-means++", "random_from_data"]
NAMES = {"full": "full", "tied": "tied", "diagonal": "diag", "spherical": "spherical"}  # scikit-learn's


def start(mixture: Mixture, codes: Tensor, min_variance: float, init: Init, seed: int, unit: str = IMAGES) -> None:
    """Set a mixture to the moments of the clusters of codes [N, Z] that `init` finds.

    `unit`: what the codes are of, for messages.

    Raises:
        UserError: fewer codes than components, or clusters without a covariance.
    """
    _fit(mixture, codes, min_variance, unit, max_iter=0, init_params=init, random_state=seed % 2**32)


def iterate(mixture: Mixture, codes: Tensor, min_variance: float, unit: str = IMAGES) -> float:
    """Do one iteration on codes [N, Z]; the result is the mean log p(y) before it, in nats.

    It depends on nothing but the mixture and the codes. `min_variance` is scikit-learn's `reg_covar`, which is added
    to the variances. `unit`: as in `start`.

    Raises:
        UserError: a component without a covariance.
    """
    weights, means, precisions = _state(mixture)
    fitted = _fit(
        mixture,
        codes,
        min_variance,
        unit,
        max_iter=1,
        warm_start=True,
        weights_=weights,
        means_=means,
        precisions_cholesky_=precisions,
        converged_=False,
        lower_bound_=-float("inf"),
    )
    return float(fitted.lower_bound_)


@torch.no_grad()
def _state(mixture: Mixture) -> tuple[Any, Any, Any]:
    """Weights, means and the square roots of the precisions, as scikit-learn has them."""
    components = mixture.components()
    if isinstance(components, DiagonalGaussian):
        roots = (-0.5 * components.log_variance).exp()  # [K, Z]
        roots = roots[:, 0] if mixture.covariance == "spherical" else roots
    else:
        identity = torch.eye(mixture.means.shape[1]).to(components.scale)
        roots = torch.linalg.solve_triangular(components.scale, identity, upper=False).mT  # [K, Z, Z], upper
        roots = roots[0] if mixture.covariance == "tied" else roots
    weights = mixture.log_weights.exp()
    return tuple(part.cpu().double().numpy() for part in (weights, mixture.means, roots))  # type: ignore[return-value]


def _fit(mixture: Mixture, codes: Tensor, min_variance: float, unit: str, **options: Any) -> Any:
    """Fit scikit-learn's mixture, and set ours to it; options that end with `_` are its state before."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    state = {name: value for name, value in options.items() if name.endswith("_")}
    settings = {name: value for name, value in options.items() if name not in state}
    kind = NAMES[mixture.covariance]
    fitted = GaussianMixture(len(mixture.logits), covariance_type=kind, reg_covar=min_variance, **settings)
    vars(fitted).update(state)
    try:
        with warnings.catch_warnings(), threads_for(codes.shape[1]):
            warnings.simplefilter("ignore", ConvergenceWarning)  # after a single iteration
            fitted.fit(codes.cpu().numpy())
    except ValueError as error:
        raise UserError(
            f"The mixture cannot be fitted to {len(codes)} training {unit} ({' '.join(str(error).split())}): set "
            "model.components lower, or model.min_sigma higher."
        ) from error
    arrays = (fitted.weights_, fitted.means_, fitted.covariances_)
    mixture.set_to(*(torch.as_tensor(array).to(mixture.means) for array in arrays))
    return fitted
