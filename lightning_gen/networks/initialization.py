"""Initial weights, where a network's own are not what is wanted."""

import torch
from torch import nn

# What keeps the variance of the sums from layer to layer (Glorot & Bengio 2010 for tanh and its 4 for logistic
# units; He et al. 2015 for rectifiers, with which the smooth ones go along).
GAINS = {"sigmoid": 4.0, "tanh": 5 / 3, "linear": 1.0}
RECTIFIER_GAIN = 2**0.5


@torch.no_grad()
def initialize(model: nn.Module, kind: str, activation: str) -> None:
    """Draw the matrices of all linear layers anew; `glorot`: N(0, 2 gain^2 / (fan in + fan out)), biases 0.

    `default` leaves everything as it is. nn.Linear's own U(+-1/sqrt(fan in)) lets signals die out in deep
    autoencoders: the variance of a layer's sums is a third of that of its inputs.
    """
    if kind == "default":
        return
    for module in model.modules():
        if isinstance(module, nn.Linear):
            parametrized = getattr(module, "parametrizations", None)  # spectral norm
            weight = module.weight if parametrized is None else parametrized.weight.original
            nn.init.xavier_normal_(weight, GAINS.get(activation, RECTIFIER_GAIN))
            nn.init.zeros_(module.bias)
