"""Which value of a metric is better: the lower, the higher, the one closest to a known best value, or none."""

from collections.abc import Callable, Iterable
from functools import partial

from lightning_gen.errors import UserError

# Metrics whose better direction is known, by the start of their names.
LOWER = (
    *("fid", "kid", "mse", "squared_error", "lpips", "reconstruction", "nll", "bits_per_dim"),
    *("classes_lost", "modes_lost", "class_total_variation", "energy_distance", "ppl"),
    *("marginals", "correlations"),
)
HIGHER = (
    *("psnr", "ssim", "elbo", "precision", "recall", "density", "coverage", "inception_score", "tstr", "kmeans"),
    *("bound", "accuracy"),  # of models with several layers of codes, and of classifiers
    *("mig", "sap", "dci", "factor_vae_score", "modes_found", "good_samples", "classes_found"),
)
NOT_OF_MODELS = ("tstr_real", "squared_error_pca", "nll_simulated")  # references, and how tight an estimate is
TARGETS = {"c2st": 0.5, "logits_gap": 0.0}  # the best value of metrics that can be too low as well as too high


def chooser(metric: str) -> Callable[[Iterable[float]], float] | None:
    """The function that picks the best of several values; None if none is known to be better than another."""
    best_at = target(metric)
    return direction(metric) if best_at is None else partial(min, key=lambda value: abs(value - best_at))


def target(metric: str) -> float | None:
    """The best value of a metric that can be too low as well as too high; None for any other."""
    return TARGETS.get(metric.removeprefix("eval/"))


def mode_of(metric: str, named: str, setting: str) -> str:
    """`min` or `max`, whichever is better.

    For the message, `named` is the override that names the metric, and `setting` the one that decides, with {} in
    place of the word.

    Raises:
        UserError: neither is known to be better.
    """
    better, best_at = direction(metric), target(metric)
    if better is not None:
        return better.__name__
    least, most = setting.format("min"), setting.format("max")
    if best_at is None:
        raise UserError(f"{named}: set {least} or {most}; which is better is not known.")
    raise UserError(
        f"{named}: it is best at {best_at:g}, neither at its lowest nor at its highest value. Choose another metric, "
        f"or decide with {least} or {most}."
    )


def direction(metric: str) -> Callable[..., float] | None:
    """`min`, `max`, or None if neither is better: `auth_pct`, for example, should equal that of real images.

    None also for metrics with a `target`.
    """
    name = metric.removeprefix("eval/")
    if name.startswith(NOT_OF_MODELS):
        return None
    return max if name.startswith(HIGHER) else min if name.startswith(LOWER) else None
