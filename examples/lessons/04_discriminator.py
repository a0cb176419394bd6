"""Lesson 4: the best discriminator measures the Jensen-Shannon divergence. docs/lessons/04_discriminator.md

Two normal densities on a line, d apart, each with standard deviation 1; then a GAN whose data are numbers on a line.
"""

import copy
import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from lesson import Number, Result, main
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lightning_gen.data.loader import Batch
from lightning_gen.models.discriminator import Discriminator
from lightning_gen.models.gan import GAN
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder
from lightning_gen.objectives.adversarial import AdversarialLoss, Minimax, NonSaturating, Wasserstein, jensen_shannon
from lightning_gen.objectives.penalties import DiscriminatorPass, GradientPenalty, Penalties
from lightning_gen.pictures.charts import COLOURS
from lightning_gen.randomness import GeneratorNoise

LINE = (1, 1, 1)  # a number is an image of one pixel
UNIT = 4.0  # the discriminator sees numbers in units of 4: it maps the images' [0, 1] to [-1, 1]
Sampler = Callable[[int], Tensor]  # how many -> images [N, 1, 1, 1]


def images_of(numbers: Tensor) -> Tensor:
    return (numbers / UNIT / 2 + 0.5).view(-1, *LINE)


def numbers_of(images: Tensor) -> Tensor:
    return (images.flatten() - 0.5) * 2 * UNIT


def normal(mean: float) -> Sampler:
    return lambda count: images_of(mean + torch.randn(count))


def new_discriminator() -> Discriminator:
    return Discriminator(partial(MLPEncoder, widths=[64, 64], activation="leaky_relu"), LINE)


def train(
    discriminator: Discriminator,
    real: Sampler,
    fake: Sampler,
    loss: AdversarialLoss,
    steps: int,
    penalties: Penalties | None = None,
    batch: int = 512,
) -> None:
    """Train a discriminator with fresh samples; its learning rate falls to 0."""
    optimizer = torch.optim.Adam(discriminator.parameters(), 5e-3, betas=(0.5, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    noise = GeneratorNoise(None)
    for step in range(steps):
        pair = real(batch), fake(batch)
        logits = discriminator(pair[0]), discriminator(pair[1])
        value = loss.discriminator(*logits).mean()
        if penalties is not None:
            value = value + penalties(DiscriminatorPass(*pair, *logits, discriminator, discriminator, noise), step)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


@torch.no_grad()
def estimate(discriminator: Discriminator, real: Sampler, fake: Sampler, count: int = 100_000) -> float:
    """The discriminator's estimate of the Jensen-Shannon divergence, from samples that it was not trained on."""
    return float(jensen_shannon(discriminator(real(count)), discriminator(fake(count))))


# -- what theory says ------------------------------------------------------------------------------------------


def js_of_bins(p: Tensor, q: Tensor) -> float:
    """The Jensen-Shannon divergence of two distributions over the same bins, in nats."""
    middle = (p + q) / 2
    return float((torch.xlogy(p, p / middle) + torch.xlogy(q, q / middle)).nansum() / 2)


def exact_js(shift: float) -> float:
    """Of N(0, 1) and N(shift, 1)."""
    x = torch.linspace(-10, 10 + shift, 20_001, dtype=torch.float64)
    p, q = (torch.exp(-0.5 * (x - mean) ** 2) / math.sqrt(2 * math.pi) * (x[1] - x[0]) for mean in (0, shift))
    return js_of_bins(p, q)


def exact_slope(shift: float, step: float = 1e-3) -> float:
    """The derivative of the Jensen-Shannon divergence by the shift."""
    return (exact_js(shift + step) - exact_js(shift - step)) / (2 * step)


def penalized_distance(shift: float, weight: float) -> float:
    """What a critic with gradient penalty measures, by arithmetic.

    The best critic is a line. Its slope s maximizes s w - weight (s - 1)^2, where w is the distance in the critic's
    units, so s = 1 + w / (2 weight), and it says s w.
    """
    return shift * (1 + shift / UNIT / (2 * weight))


# -- two densities, moved apart --------------------------------------------------------------------------------

WEIGHT = 10.0  # of the gradient penalty


class Apart(NamedTuple):
    """What trained discriminators say of N(0, 1) and N(shift, 1)."""

    shift: float
    js: list[float]  # after each number of steps in `Plan.steps`
    distance: float  # the critic's
    minimax: float  # derivatives of the generators' losses by the shift
    non_saturating: float
    wasserstein: float


def pull(discriminator: Discriminator, loss: AdversarialLoss, shift: float) -> float:
    """The derivative of the generator's loss by the shift: how strongly the samples are pulled to the real ones."""
    moved = torch.tensor(shift, requires_grad=True)
    value = loss.generator(discriminator(images_of(torch.randn(100_000) + moved))).mean()
    return float(torch.autograd.grad(value, moved)[0])


def moved_apart(shift: float, steps: list[int]) -> Apart:
    real, fake = normal(0.0), normal(shift)
    js = []
    for count in steps:
        discriminator = new_discriminator()
        train(discriminator, real, fake, NonSaturating(), count)
        js.append(estimate(discriminator, real, fake))
    critic = new_discriminator()
    penalties = Penalties({"gradient_penalty": GradientPenalty(WEIGHT, one_sided=True)})
    train(critic, real, fake, Wasserstein(), steps[-1] // 2, penalties, batch=256)
    with torch.no_grad():
        distance = -float(Wasserstein().discriminator(critic(real(100_000)), critic(fake(100_000))).mean())
    losses = (discriminator, Minimax()), (discriminator, NonSaturating()), (critic, Wasserstein())
    pulls = [pull(network, loss, shift) for network, loss in losses]
    return Apart(shift, js, UNIT * distance, pulls[0], pulls[1], UNIT * pulls[2])


# -- a GAN -----------------------------------------------------------------------------------------------------

CENTRES, SPREAD = (-2.0, 2.0), 0.5  # two bumps


def two_bumps(count: int) -> Tensor:
    centres = torch.tensor(CENTRES)[torch.randint(2, (count,))]
    return images_of(centres + SPREAD * torch.randn(count))


def generated(model: GAN) -> Sampler:
    return torch.no_grad()(lambda count: model.generate(model.draw(GeneratorNoise(None), count)))


def true_js(model: GAN, count: int = 200_000) -> float:
    """The divergence of the GAN's numbers from the two bumps, in bins of 0.04."""
    edges = torch.linspace(-8, 8, 401, dtype=torch.float64)
    bumps = torch.distributions.Normal(torch.tensor(CENTRES).double(), SPREAD).cdf(edges.unsqueeze(1)).mean(dim=1)
    drawn = torch.histogram(numbers_of(generated(model)(count)).double().clamp(-7.99, 7.99), edges)
    return js_of_bins(bumps.diff(), drawn.hist / count)


class Moment(NamedTuple):
    """A GAN in training."""

    step: int
    live: float  # the estimate of the discriminator as it is, which training logs as train/js_estimate
    best: float | None  # the estimate of one that is trained to its end against this generator
    exact: float


def trained_gan(steps: int, every: int, to_the_end: int) -> list[Moment]:
    """Train model=gan with d_steps=1, and measure it now and then."""
    encoder = partial(MLPEncoder, widths=[64, 64], activation="leaky_relu")
    decoder = partial(MLPDecoder, widths=[64, 64])
    slow, fast = (partial(torch.optim.Adam, lr=rate, betas=(0.5, 0.9)) for rate in (3e-4, 2e-3))
    model = GAN(LINE, encoder, decoder, slow, fast, NonSaturating(), latent_dim=4, output="linear")
    optimizers = [phase.optimizer() for phase in model.phases]
    moments = []
    for step in range(steps + 1):
        if step % every == 0:
            best = None
            if step % (5 * every) == 0:
                judge = copy.deepcopy(model.discriminator)
                train(judge, two_bumps, generated(model), NonSaturating(), to_the_end)
                best = estimate(judge, two_bumps, generated(model))
            now = estimate(model.discriminator, two_bumps, generated(model), 20_000)
            moments.append(Moment(step, now, best, true_js(model)))
        model.noise.start(step)
        batch = Batch(two_bumps(128), None)
        for phase, optimizer in zip(model.phases, optimizers, strict=True):
            model.zero_grad()
            phase.loss(batch, step).backward()
            optimizer.step()
    return moments


# -- figures ---------------------------------------------------------------------------------------------------


def plain(axes: Axes, **words: str) -> None:
    axes.set(**words)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9)


def draw_apart(found: list[Apart], steps: list[int]) -> Figure:
    figure = Figure(figsize=(11, 4), layout="constrained")
    figure.suptitle("Two normal densities with standard deviation 1, d apart")
    left, middle, right = figure.subplots(1, 3)
    shifts, fine = [one.shift for one in found], torch.linspace(0, found[-1].shift, 81).tolist()
    left.axhline(math.log(2), color="#94a4a2", lw=0.8)
    left.text(0, math.log(2) * 1.01, "log 2", va="bottom", size=9)
    left.plot(fine, [exact_js(d) for d in fine], color="black", label="exact")
    for i, count in enumerate(steps):
        style = {"marker": "ov^s"[i], "ls": "", "color": COLOURS[i]}
        left.plot(shifts, [one.js[i] for one in found], label=f"D after {count} steps", **style)
    plain(left, title="Jensen-Shannon divergence", xlabel="distance d", ylabel="nats")
    middle.plot(fine, fine, color="black", label="exact")
    penalized = [penalized_distance(d, WEIGHT) for d in fine]
    middle.plot(fine, penalized, "--", color="black", label="with the penalty, by arithmetic")
    middle.plot(shifts, [one.distance for one in found], "o", color=COLOURS[4], label="critic")
    plain(middle, title="Wasserstein-1 distance", xlabel="distance d", ylabel="distance")
    slopes = [2 * exact_slope(d) for d in fine]
    right.plot(fine, slopes, color=COLOURS[2])
    right.plot(fine, [d - slope for d, slope in zip(fine, slopes, strict=True)], color=COLOURS[0])
    right.plot(fine, [1 + d / UNIT / WEIGHT / 2 for d in fine], color=COLOURS[4])
    for i, name in ((2, "minimax"), (0, "non_saturating"), (4, "wasserstein")):
        label = f"{name.replace('_', '-')} loss"
        right.plot(shifts, [getattr(one, name) for one in found], "o", color=COLOURS[i], label=label)
    right.set(ylim=(-0.2, 4))
    plain(right, title="Pull on the generator (lines: theory)", xlabel="distance d", ylabel="d loss / d d")
    return figure


def draw_gan(moments: list[Moment]) -> Figure:
    figure = Figure(figsize=(7.6, 4.2), layout="constrained")
    axes = figure.subplots()
    steps = [moment.step for moment in moments]
    axes.plot(steps, [moment.exact for moment in moments], color="black", label="exact divergence of the samples")
    axes.plot(steps, [moment.live for moment in moments], color=COLOURS[0], label="estimate of D in training")
    best = [(moment.step, moment.best) for moment in moments if moment.best is not None]
    axes.plot(*zip(*best, strict=True), "o", color=COLOURS[2], label="estimate of D trained to its end")
    axes.axhline(0, color="#94a4a2", lw=0.8)
    title = "A GAN on a line: the Jensen-Shannon divergence during training"
    plain(axes, title=title, xlabel="training steps", ylabel="nats")
    return figure


def run(quick: bool) -> Result:
    torch.manual_seed(0)
    shifts = [0.0, 2.0, 6.0] if quick else [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0]
    steps = [20, 400] if quick else [20, 100, 1000]
    found = [moved_apart(shift, steps) for shift in shifts]
    moments = trained_gan(*((200, 40, 300) if quick else (2000, 100, 500)))
    numbers = [Number("d = 0: estimate of the best D", found[0].js[-1], 0.0)]
    for one in (one for one in found if one.shift in (2.0, 6.0)):
        numbers += [
            Number(f"d = {one.shift:.0f}: estimate of the best D", one.js[-1], exact_js(one.shift)),
            Number(f"d = {one.shift:.0f}: the same after {steps[0]} steps", one.js[0], exact_js(one.shift)),
            Number(f"d = {one.shift:.0f}: critic", one.distance, penalized_distance(one.shift, WEIGHT)),
            Number(f"d = {one.shift:.0f}: pull, minimax", one.minimax, 2 * exact_slope(one.shift)),
            Number(
                f"d = {one.shift:.0f}: pull, non-saturating",
                one.non_saturating,
                one.shift - 2 * exact_slope(one.shift),
            ),
            Number(f"d = {one.shift:.0f}: pull, Wasserstein", one.wasserstein, 1 + one.shift / UNIT / WEIGHT / 2),
        ]
    late = moments[len(moments) // 2 :]
    ended = [moment for moment in moments if moment.best is not None]
    numbers += [
        Number(
            "GAN: D trained to its end; largest error of its estimate", max(abs(m.best - m.exact) for m in ended), 0.0
        ),
        Number(
            "GAN, second half: mean estimate in training; exact",
            sum(m.live for m in late) / len(late),
            sum(m.exact for m in late) / len(late),
        ),
    ]
    return numbers, {"apart": draw_apart(found, steps), "gan": draw_gan(moments)}


if __name__ == "__main__":
    main(__file__, run)
