"""Lesson 1: to maximize the likelihood is to minimize KL(p_data || p_model).

Points are drawn from a known mixture p of three Gaussians. For every model q, the mean of -log q over fresh points
minus the entropy of p must be KL(p || q), which is computed in another way: as an integral over a grid of the plane.

    python examples/lessons/01_maximum_likelihood.py
"""

import math
from collections.abc import Iterator

import torch
from lesson import Number, Result, main
from matplotlib.figure import Figure
from torch import Tensor

from lightning_gen.models.expectation_maximization import iterate, start
from lightning_gen.objectives.priors import Mixture
from lightning_gen.pictures.charts import COLOURS

WEIGHTS = torch.tensor([0.5, 0.3, 0.2])
MEANS = torch.tensor([[-1.5, 0.0], [1.5, 1.0], [1.0, -2.0]])
COVARIANCES = torch.tensor([[[0.6, 0.4], [0.4, 0.6]], [[0.8, -0.3], [-0.3, 0.3]], [[0.2, 0.0], [0.0, 0.5]]])
EXTENT, SIDE = 7.0, 300  # the integrals are over [-7, 7]^2, by 300 x 300 points
PARAMETERS = 2 + 3 * 2 + 3 * 3  # of three Gaussians in the plane: weights, means, covariances
MIN_VARIANCE = 1e-6


def known() -> Mixture:
    """p."""
    mixture = Mixture(2, (1, 1, 2), 3, "full").double()
    mixture.set_to(WEIGHTS, MEANS, COVARIANCES)
    return mixture


def drawn(count: int, seed: int) -> Tensor:
    """Points [count, 2] from p."""
    generator = torch.Generator().manual_seed(seed)
    normal, uniform = torch.randn(count, 2, generator=generator), torch.rand(count, generator=generator)
    return known()(normal.double(), uniform.double()).detach()


def poor_start(points: Tensor) -> Mixture:
    """Three Gaussians with unit covariances around the first three points."""
    mixture = Mixture(2, (1, 1, 2), 3, "full").double()
    mixture.set_to(torch.ones(3) / 3, points[:3], torch.eye(2).repeat(3, 1, 1))
    return mixture


def clustered(points: Tensor, components: int) -> Mixture:
    """Gaussians with the moments of the clusters that k-means finds."""
    mixture = Mixture(2, (1, 1, 2), components, "full").double()
    start(mixture, points, MIN_VARIANCE, "kmeans", seed=0)
    return mixture


def by_em(points: Tensor, mixture: Mixture) -> Iterator[Mixture]:
    """The mixture before the first and after each iteration, until it has converged."""
    before = -math.inf
    for _ in range(500):
        yield mixture
        now = iterate(mixture, points, MIN_VARIANCE)
        if now - before < 1e-6:
            break
        before = now
    yield mixture


def by_gradient(points: Tensor, mixture: Mixture, steps: int, every: int) -> Iterator[Mixture]:
    """The mixture before and during training with Adam on all points."""
    optimizer = torch.optim.Adam(mixture.parameters(), lr=0.03)
    for step in range(steps + 1):
        if step % every == 0:
            yield mixture
        optimizer.zero_grad()
        (-mixture.log_prob(points).mean()).backward()
        optimizer.step()


class Judge:
    """KL(p || q) in two ways: from fresh points with the entropy of p, and as an integral."""

    def __init__(self, count: int) -> None:
        axis = torch.linspace(-EXTENT, EXTENT, SIDE, dtype=torch.float64)
        self.grid, self.cell = torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2
        with torch.no_grad():
            self.log_p = known().log_prob(self.grid)
        self.p = self.log_p.exp() * self.cell
        self.entropy = -float((self.p * self.log_p).sum())
        self.fresh = drawn(count, seed=1)

    @torch.no_grad()
    def from_nll(self, q: Mixture) -> float:
        """NLL of fresh points minus the entropy of p, in nats."""
        return -float(q.log_prob(self.fresh).mean()) - self.entropy

    @torch.no_grad()
    def integral(self, q: Mixture) -> float:
        """The integral of p log(p / q), in nats."""
        return float((self.p * (self.log_p - q.log_prob(self.grid))).sum())


def densities(fits: dict[str, tuple[Mixture, float]]) -> Figure:
    """Contours of p and of the fitted densities."""
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axis = torch.linspace(-4, 4, 160, dtype=torch.float64)
    grid, levels = torch.cartesian_prod(axis, axis), [0.005, 0.02, 0.05, 0.1, 0.15, 0.2]
    shown = {"the data's density p": (known(), None), **fits}
    for axes, (name, (mixture, divergence)) in zip(
        figure.subplots(1, len(shown), sharey=True), shown.items(), strict=True
    ):
        with torch.no_grad():
            values = mixture.log_prob(grid).exp().view(160, 160).T
        axes.contourf(axis, axis, values, levels=levels, cmap="Blues", extend="both")
        axes.set(aspect="equal", xlabel="x", title=name)
        if divergence is not None:
            axes.text(0.5, 0.03, f"KL(p || q) = {divergence:.3f} nats", ha="center", transform=axes.transAxes)
    figure.axes[0].set_ylabel("y")
    return figure


def training(curves: dict[str, tuple[list[int], list[float], list[float]]]) -> Figure:
    """KL(p || q) during training: the integral as a line, NLL minus entropy as dots."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    figure.suptitle("While the likelihood rises, KL(p || q) falls: both are the same number")
    for axes, colour, (name, (steps, integrals, found)) in zip(
        figure.subplots(1, len(curves), sharey=True), COLOURS, curves.items(), strict=False
    ):
        axes.plot(steps, integrals, color=colour, label="KL(p || q), as an integral over the plane")
        axes.plot(steps, found, "o", color="#717581", ms=4, label="NLL of fresh points minus entropy of p")
        axes.set(xlabel=name, ylim=(0, None))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.legend(frameon=False)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("nats per point")
    return figure


def run(quick: bool) -> Result:
    """Fit mixtures of 1 to 5 Gaussians, watch KL(p || q) during training, and refit on few points."""
    judge = Judge(100_000 if quick else 1_000_000)
    points = drawn(2_000 if quick else 20_000, seed=0)
    own = -float(known().log_prob(judge.fresh).detach().mean())
    numbers, fits = [Number("NLL of p itself, and its entropy, nats", own, judge.entropy)], {}
    for count in (1, 3) if quick else (1, 2, 3, 5):
        *_, mixture = by_em(points, clustered(points, count))
        integral = judge.integral(mixture)
        numbers.append(
            Number(f"{count} Gaussian{'s' * (count > 1)}: NLL - entropy, nats", judge.from_nll(mixture), integral)
        )
        fits[f"{count} Gaussian{'s' * (count > 1)}"] = (mixture, integral)
    fits.pop("5 Gaussians", None)

    few, refits = 1000, 4 if quick else 40
    samples = [drawn(few, seed=10 + index) for index in range(refits)]
    excess = [judge.integral([*by_em(some, clustered(some, 3))][-1]) for some in samples]
    what = f"KL of 3 Gaussians from {few:,} points, nats, mean of {refits} fits"
    numbers.append(Number(what, sum(excess) / refits, PARAMETERS / (2 * few)))

    curves = {}
    every = 20 if quick else 5
    for name, mixtures, step in (
        ("iterations of EM", by_em(points, poor_start(points)), 1),
        ("steps of Adam", by_gradient(points[:2000], poor_start(points), 40 if quick else 400, every), every),
    ):
        seen = [(judge.integral(q), judge.from_nll(q)) for q in mixtures]
        curves[name] = (list(range(0, step * len(seen), step)), [a for a, _ in seen], [b for _, b in seen])
    worst = max(abs(a - b) for _, ones, others in curves.values() for a, b in zip(ones, others, strict=True))
    numbers.append(Number("largest difference of the two during training, nats", worst, 0.0))
    return numbers, {"densities": densities(fits), "training": training(curves)}


if __name__ == "__main__":
    main(__file__, run)
