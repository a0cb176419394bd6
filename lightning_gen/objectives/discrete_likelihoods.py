"""Likelihoods of 8-bit images: probabilities of 256 grey values, whose nats convert to bits per dimension."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_gen.errors import UserError
from lightning_gen.networks.precision import full_precision
from lightning_gen.objectives.likelihoods import Likelihood, total
from lightning_gen.randomness import Noise


class Categorical(Likelihood):
    """log p(x|z) with one logit for each of the `levels` values of a pixel and channel.

    The decoder's output has C * levels channels. Source: van den Oord et al. 2016, sec. 2.2.
    """

    discrete = True

    def __init__(self, levels: int = 256) -> None:
        super().__init__()
        self.levels = levels

    def channels(self, image_channels: int) -> int:
        return image_channels * self.levels

    def _logits(self, raw: Tensor) -> Tensor:
        return full_precision(raw).unflatten(-3, (-1, self.levels)).movedim(-3, -1)  # [..., C, H, W, levels]

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        logits = self._logits(raw)
        index = (images * (self.levels - 1)).round().long()
        shape = torch.broadcast_shapes(index.shape, logits.shape[:-1])
        chosen = logits.expand(*shape, -1).gather(-1, index.expand(shape).unsqueeze(-1)).squeeze(-1)
        return total(chosen - logits.logsumexp(dim=-1))

    def mean(self, raw: Tensor) -> Tensor:
        probabilities = self._logits(raw).softmax(dim=-1)
        values = torch.linspace(0, 1, self.levels, device=raw.device, dtype=probabilities.dtype)
        return (probabilities * values).sum(dim=-1)

    def draw(self, raw: Tensor, noise: Noise) -> Tensor:
        return chosen(self._logits(raw), noise, dim=-1).to(torch.float32) / (self.levels - 1)


class LogisticMixture(Likelihood):
    """log p(x|z) of `levels` values: a mixture of logistic densities, integrated over the interval of each value.

    All channels of a pixel share the mixture component. In colour images the mean of green is linear in the value of
    red, and the mean of blue in red and green, with coefficients from the decoder. The decoder's output has
    `components` * (1 + 2 C) channels, for colour images `components` * 10. Differences of logistic functions are
    computed in logs, exact down to the smallest probability, so no floor is needed. Source: Salimans et al. 2017
    (PixelCNN++), sec. 2.1 and 2.2.

    Raises:
        UserError: from `channels`, for images with neither 1 nor 3 channels.
    """

    discrete = True

    def __init__(self, components: int = 10, levels: int = 256, min_log_scale: float = -7.0) -> None:
        super().__init__()
        self.components, self.levels, self.min_log_scale = components, levels, min_log_scale

    def channels(self, image_channels: int) -> int:
        if image_channels not in (1, 3):
            raise UserError(
                f"model/likelihood=logistic_mixture needs images with 1 or 3 channels, not {image_channels}: set "
                "dataset.channels, or use model/likelihood=categorical."
            )
        return self.components * (10 if image_channels == 3 else 3)

    def _split(self, raw: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Log weights [..., 1, K, H, W]; means and log scales [..., C, K, H, W] for [-1, 1]; coefficients."""
        parts = full_precision(raw).unflatten(-3, (-1, self.components))
        colour = parts.shape[-4] == 10
        channels = 3 if colour else 1
        weights = parts[..., :1, :, :, :].log_softmax(dim=-3)
        means = parts[..., 1 : 1 + channels, :, :, :]
        scales = parts[..., 1 + channels : 1 + 2 * channels, :, :, :]
        # A decoder output of 0 gives a scale of about e^-2, a fifteenth of the range of values
        log_scales = self.min_log_scale + F.softplus(scales - 2.0 - self.min_log_scale)
        return weights, means, log_scales, parts[..., 7:, :, :, :].tanh() if colour else None

    def log_prob(self, raw: Tensor, images: Tensor) -> Tensor:
        weights, means, log_scales, coefficients = self._split(raw)
        level = (images * (self.levels - 1)).round().unsqueeze(-3)  # [..., C, 1, H, W]
        values = 2 * level / (self.levels - 1) - 1  # in [-1, 1]
        if coefficients is not None:
            means = _along_colours(means, coefficients, *values.split(1, dim=-4)[:2])
        half = 1 / (self.levels - 1)  # of an interval
        inverse = torch.exp(-log_scales)
        above, below = (values + half - means) * inverse, (values - half - means) * inverse
        # sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - e^(b - a)); the outermost intervals are unbounded
        inside = F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-2 * half * inverse))
        first, last = level <= 0, level >= self.levels - 1
        log_probs = torch.where(first, F.logsigmoid(above), torch.where(last, F.logsigmoid(-below), inside))
        joint = weights + log_probs.sum(dim=-4, keepdim=True)  # [..., 1, K, H, W]
        return total(joint.logsumexp(dim=-3))

    def mean(self, raw: Tensor) -> Tensor:
        """The mean of the mixture of logistic densities, clamped to [0, 1]."""
        weights, means, _, coefficients = self._split(raw)
        if coefficients is not None:
            red = means[..., :1, :, :, :]
            green = means[..., 1:2, :, :, :] + coefficients[..., :1, :, :, :] * red
            means = _along_colours(means, coefficients, red, green)
        centre = (weights.exp() * means).sum(dim=-3)
        return ((centre + 1) / 2).clamp(0.0, 1.0)

    def draw(self, raw: Tensor, noise: Noise) -> Tensor:
        """A component for each pixel, a logistic variable for each channel, rounded to the nearest of the values."""
        weights, means, log_scales, coefficients = self._split(raw)
        component = chosen(weights, noise, dim=-3).unsqueeze(-3)  # [..., 1, 1, H, W]
        uniform = noise.uniform(means.select(-3, 0).shape, raw.device).clamp(1e-6, 1 - 1e-6)

        def of_component(values: Tensor) -> Tensor:
            return values.gather(-3, component.expand(*values.shape[:-3], 1, *values.shape[-2:])).squeeze(-3)

        means, spread = of_component(means), of_component(log_scales).exp() * uniform.logit()
        if coefficients is None:
            return self._rounded(means + spread)
        c = of_component(coefficients).unbind(dim=-3)
        values: list[Tensor] = []  # of red, green and blue
        for channel, past in enumerate(((), (c[0],), (c[1], c[2]))):
            shift = sum((factor * value for factor, value in zip(past, values, strict=True)), torch.zeros_like(c[0]))
            here = means.select(-3, channel) + spread.select(-3, channel) + shift
            values.append(2 * self._rounded(here) - 1)
        return (torch.stack(values, dim=-3) + 1) / 2

    def _rounded(self, values: Tensor) -> Tensor:
        """Values in [-1, 1], clamped, to the nearest level in [0, 1]."""
        return ((values.clamp(-1, 1) + 1) / 2 * (self.levels - 1)).round() / (self.levels - 1)


def chosen(logits: Tensor, noise: Noise, dim: int) -> Tensor:
    """One draw from each categorical distribution with these logits along `dim`, int64 (Gumbel's perturbation)."""
    uniform = noise.uniform(logits.shape, logits.device).clamp(1e-20, 1 - 1e-7)
    return (logits - (-uniform.log()).log()).argmax(dim=dim)


def _along_colours(means: Tensor, coefficients: Tensor, red: Tensor, green: Tensor) -> Tensor:
    """The means of green and blue given the channels before them (Salimans et al. 2017, eq. 3)."""
    r, g, b = means.split(1, dim=-4)
    c = coefficients.split(1, dim=-4)
    g = g + c[0] * red
    b = b + c[1] * red + c[2] * green
    shape = torch.broadcast_shapes(r.shape, g.shape, b.shape)
    return torch.cat([r.expand(shape), g.expand(shape), b.expand(shape)], dim=-4)


def bits_per_dimension(nats: Tensor, dimensions: int, density: bool = False) -> Tensor:
    """-log_2 P(x) / dimensions for 8-bit images x, from log P in nats (Theis et al. 2016, sec. 3.1).

    `density`: `nats` are log-densities of dequantized images (x + u) / 256 in [0, 1), not log-probabilities; then the
    result is an upper bound.
    """
    return -nats / (dimensions * math.log(2)) + (8.0 if density else 0.0)
