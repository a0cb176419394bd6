"""Weights and inputs by formula, for comparison with the authors' networks, of which only outputs are stored here."""

import torch
from torch import Tensor, nn


def even(count: int, start: float = 0.0) -> Tensor:
    """float64 [count], spread evenly over [-1, 1): the fractions of multiples of an irrational number."""
    return (torch.arange(count, dtype=torch.float64) * 0.7548776662466927 + start) % 1 * 2 - 1


@torch.no_grad()
def fill(network: nn.Module, equalized: bool = False) -> nn.Module:
    """Put numbers by formula into all parameters and statistics, in the network's order; it is evaluated from then on.

    Weights keep the variance of their inputs or, where the network scales them (`equalized`), have a variance of 1.
    """
    states = [(name, value) for name, value in network.state_dict().items() if value.is_floating_point()]
    for index, (name, value) in enumerate(states):
        numbers = even(value.numel(), index * 0.5698402909980532).view(value.shape)
        if name.endswith("running_var"):
            numbers = 1 + numbers / 2
        elif value.dim() > 1:
            numbers = numbers * 3**0.5 / (1 if equalized else value[0].numel() ** 0.5)
            if equalized and "mapping.layers" in name:  # used at a hundredth
                numbers = 100 * numbers
        value.copy_(numbers)
    return network.eval()


def latents(count: int, size: int) -> Tensor:
    """Codes [count, size], of unit variance."""
    return 3**0.5 * even(count * size, 0.1).float().view(count, size)


def pictures(count: int, size: int) -> Tensor:
    """Images [count, 3, size, size] in [0, 1]."""
    return (even(count * 3 * size**2, 0.2).float().view(count, 3, size, size) + 1) / 2


def spots(outputs: Tensor) -> list[float]:
    """All of a few logits, or two pixels in each direction of two images."""
    if outputs.dim() == 4:
        step = outputs.shape[2] // 2 + 1
        outputs = outputs[:2, :, 1::step, 1::step]
    return outputs.flatten().tolist()
