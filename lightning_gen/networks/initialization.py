"""Initial weights other than a network's own."""

import math

import torch
from torch import Tensor, nn

from lightning_gen.networks.spectral import follow_weights

# Gains that keep the variance from layer to layer: Glorot & Bengio 2010 for tanh and logistic units, He et al. 2015
# for rectifiers, which also serves smooth ones such as GELU and SiLU.
GAINS = {"sigmoid": 4.0, "tanh": 5 / 3, "linear": 1.0}
RECTIFIER_GAIN = 2**0.5

ACTIVATIONS: dict[type[nn.Module], str] = {
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    **dict.fromkeys((nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU), "relu"),
}

INITIALIZATIONS = ("default", "glorot", "xavier_uniform", "he", "orthogonal", "normal", "dcgan")
MATRICES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)


def activation_of(model: nn.Module) -> str:
    """The name of the first activation in a model, `linear` if it has none."""
    return next((ACTIVATIONS[type(module)] for module in model.modules() if type(module) in ACTIVATIONS), "linear")


class StackedLinear(nn.Linear):
    """`count` linear layers of the same input in one, [..., in] to [..., count * out].

    `initialize` treats each by itself: its fan out is `out`.
    """

    def __init__(self, in_features: int, out_features: int, count: int = 2) -> None:
        super().__init__(in_features, count * out_features)
        self.count = count


def initialize(model: nn.Module, kind: str, activation: str) -> None:
    """Draw new weights for all linear layers, convolutions and embeddings, and set their biases to 0.

    PyTorch's own U(+-1/sqrt(fan in)) lets signals die out in deep autoencoders: the variance of a layer's output is a
    third of that of its input. Weights that a network sets to 0 stay 0: they end residual branches that are meant to
    start as zero.

    Args:
        model: changed in place.
        kind: `default`: change nothing;
            `glorot`: N(0, 2 gain^2 / (fan in + fan out)) with the gain of the activation (Glorot & Bengio 2010);
            `xavier_uniform`: uniform with that variance and gain 1;
            `he`: N(0, gain^2 / fan in) (He et al. 2015);
            `orthogonal`: orthonormal rows or columns (Saxe et al. 2014);
            `normal`: N(0, 0.02^2), with the gains of batch norm as they are (SNGAN's convolutional networks);
            `dcgan`: N(0, 0.02^2), and N(1, 0.02^2) for the gains of batch norm (Radford et al. 2016).
        activation: name of the activation, for the gain.
    """
    if kind == "default":
        return
    gain = GAINS.get(activation, RECTIFIER_GAIN)
    for module in model.modules():
        if isinstance(module, MATRICES):
            _draw(module, kind, gain)
        elif kind == "dcgan" and isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1.0, 0.02)


@torch.no_grad()
def _draw(module: nn.Module, kind: str, gain: float) -> None:
    parametrized = getattr(module, "parametrizations", None)  # spectral norm
    weight: Tensor = module.weight if parametrized is None else parametrized.weight.original  # type: ignore
    if getattr(module, "bias", None) is not None:
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    if not (weight.is_meta or weight.any()):
        return
    for part in weight.chunk(module.count) if isinstance(module, StackedLinear) else [weight]:
        if kind == "glorot":
            nn.init.xavier_normal_(part, gain)
        elif kind == "xavier_uniform":
            nn.init.xavier_uniform_(part)
        elif kind == "he":
            nn.init.normal_(part, std=gain / math.sqrt(_fan_in(module, part)))
        elif kind == "orthogonal":
            nn.init.orthogonal_(part)
        elif kind in ("normal", "dcgan"):
            nn.init.normal_(part, std=0.02)
    if parametrized is not None:
        follow_weights(module)  # the singular vectors belong to the old weights


def _fan_in(module: nn.Module, weight: Tensor) -> float:
    """The number of inputs to one output; a transposed convolution of stride s spreads its kernel over s^2 pixels."""
    if isinstance(module, nn.ConvTranspose2d):
        return weight.size(0) * weight[0, 0].numel() / math.prod(module.stride)
    if isinstance(module, nn.Embedding):
        return 1.0
    return weight[0].numel()
