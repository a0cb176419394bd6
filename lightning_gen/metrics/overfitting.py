"""Does a model know its training images better than held-out ones? The gap of a discriminator, and when to warn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

LOSSES = ("loss", "cross_entropy", "squared_error", "prior_nll")  # what models minimize, one of which is enough
MOST = 0.5  # of the discriminator's gap
COPIES = 1.0  # percentage points above twice the share of copies among held-out images, which is 0.1 % for MNIST
IN_A_ROW = 3  # evaluations that must agree


def logits_gap(means: Mapping[str, float]) -> dict[str, float]:
    """How far a discriminator overfits: `logits_gap`, 0 if not at all, 1 if completely; {} without its logits.

    r_v = (E[D_train] - E[D_held_out]) / (E[D_train] - E[D_samples]), Karras et al. 2020 ("Training generative
    adversarial networks with limited data"), eq. 1. It depends neither on the scale nor on the origin of the logits,
    so it fits every adversarial loss. NaN if training images and samples have the same mean.

    Args:
        means: the mean logits of training images, `logits_train`, of held-out images, `logits`, and of samples,
            `logits_fake`.
    """
    if not {"logits_train", "logits", "logits_fake"} <= means.keys():
        return {}
    seen, held_out, fake = means["logits_train"], means["logits"], means["logits_fake"]
    return {"logits_gap": (seen - held_out) / (seen - fake) if seen != fake else float("nan")}


def copying(metrics: Mapping[str, float]) -> list[str]:
    """The warning that samples copy training images; [] without it, or without the metric `memorization`.

    Held-out images may be near training images, too, so the share of copies is compared with theirs.
    """
    found, floor = metrics.get("eval/copied_pct"), metrics.get("eval/copied_pct_floor")
    if found is None or floor is None or found <= 2 * floor + COPIES:
        return []
    return [
        f"{found:.3g} % of the samples copy a training image, against {floor:.3g} % of held-out images "
        "(eval/copied_pct). Use more images, or end training earlier."
    ]


@dataclass
class Overfitting:
    """Watches the evaluations of a run, and warns once when the model overfits.

    A loss overfits if, in 3 evaluations in a row, it is above its lowest value on held-out images while on training
    images it is below what it was then. A discriminator overfits if `logits_gap` is above 0.5 in 3 in a row.

    Attributes:
        lowest: by loss: its lowest mean over held-out images, that over training images then, and the step.
        counts: by metric: the evaluations in a row that show overfitting.
        told: the warning; empty as long as there is none.
    """

    lowest: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    told: str = ""

    def update(self, step: int, metrics: Mapping[str, float], of_images: bool = True) -> str:
        """The warning, if the evaluation of this step is the first to show overfitting; otherwise nothing.

        `of_images`: the data can be augmented.
        """
        remedy = "model/augment=ada" if of_images else "a smaller network"
        found = [self._of_loss(step, name, metrics) for name in LOSSES] + [self._of_logits(metrics, remedy)]
        if self.told or not any(found):
            return ""
        self.told = next(filter(None, found))
        return self.told

    def _of_loss(self, step: int, name: str, metrics: Mapping[str, float]) -> str:
        held_out, seen = metrics.get(f"eval/{name}"), metrics.get(f"eval/{name}_train")
        if held_out is None or seen is None:
            return ""
        best, seen_then, then = self.lowest.setdefault(name, [held_out, seen, step])
        if held_out < best:
            self.lowest[name] = [held_out, seen, step]
        if not self._again(name, held_out > best and seen < seen_then):
            return ""
        return (
            f"the model overfits: since step {then:,.0f} {name} has risen from {best:.4g} to {held_out:.4g} on "
            f"held-out images, while it fell from {seen_then:.4g} to {seen:.4g} on training images. Use more images "
            "or a smaller network, or end training earlier with callbacks=early_stopping."
        )

    def _of_logits(self, metrics: Mapping[str, float], remedy: str) -> str:
        gap = metrics.get("eval/logits_gap")
        if gap is None or not self._again("logits", gap > MOST):
            return ""
        return (
            f"the discriminator overfits: its mean logit of held-out images is {gap:.0%} of the way from training "
            f"images to samples (eval/logits_gap). Use more images or {remedy}."
        )

    def _again(self, name: str, shown: bool) -> bool:
        """Whether this evaluation is the last of enough in a row."""
        self.counts[name] = self.counts.get(name, 0) + 1 if shown else 0
        return self.counts[name] >= IN_A_ROW
