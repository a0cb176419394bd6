"""Regularizers of an autoencoder's codes: for sparse codes, contractive encoders and smooth decoders.

The formulas are functions. The classes are the choices of `model/regularizer`, with their weights: a regularizer can
change the codes (`transform`) and add a penalty [B] to the reconstruction error (`penalty`).
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_gen.distributed import mean_over_processes
from lightning_gen.networks.precision import full_precision
from lightning_gen.randomness import Noise


def kl_sparsity(activations: Tensor, target: float) -> Tensor:
    """sum_j KL(target || mean activation of unit j) between Bernoulli distributions: a scalar, in nats.

    `activations` [B, Z] in [0, 1]; the mean is over the images of all processes. Source: Ng 2011, CS294A lecture
    notes, sec. 3.
    """
    mean = mean_over_processes(full_precision(activations).mean(dim=0)).clamp(1e-6, 1 - 1e-6)
    return (target * (target / mean).log() + (1 - target) * ((1 - target) / (1 - mean)).log()).sum()


def keep_largest(codes: Tensor, k: int) -> Tensor:
    """The codes [B, Z] with all but the k largest values of each image set to 0 (Makhzani & Frey 2014, sec. 2.1)."""
    values, indices = codes.topk(min(k, codes.shape[1]), dim=1)
    return torch.zeros_like(codes).scatter(1, indices, values)


def single_layer_jacobian(inputs: Tensor, linear: nn.Linear, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """||J||_F^2 of h = s(Wx + b), exactly: sum_j s'(a_j)^2 ||W_j||^2, a = Wx + b, [B] (Rifai et al. 2011, eq. 3).

    `inputs` [B, D]; `activation` is s, any elementwise function.
    """
    with torch.enable_grad():
        sums = linear(inputs)
        sums = sums if sums.requires_grad else sums.requires_grad_()
        (slopes,) = torch.autograd.grad(activation(sums).sum(), sums, create_graph=True)
    return full_precision(slopes).square() @ full_precision(linear.weight).square().sum(dim=1)


def hutchinson_jacobian(
    function: Callable[[Tensor], Tensor], inputs: Tensor, noise: Noise, probes: int = 1
) -> Tensor:
    """An unbiased estimate of ||J||_F^2 = E_v ||J^T v||^2, J the Jacobian of a function, [B] (Hutchinson 1990).

    `inputs` [B, ...]. v has independent random signs. The estimate averages over `probes` draws of v, each of which
    costs one backward pass, whatever the size of the function's output.
    """
    with torch.enable_grad():
        inputs = inputs.detach().requires_grad_() if not inputs.requires_grad else inputs
        outputs = function(inputs).flatten(1)
        total = torch.zeros(len(inputs), device=inputs.device)
        for _ in range(probes):
            signs = torch.where(noise.uniform(outputs.shape, outputs.device) < 0.5, -1.0, 1.0)
            (gradient,) = torch.autograd.grad((outputs * signs).sum(), inputs, create_graph=True)
            total = total + gradient.flatten(1).square().sum(dim=1)
    return total / probes


class AutoencoderPass(NamedTuple):
    """One pass through an autoencoder, as regularizers see it."""

    images: Tensor  # [B, C, H, W], clean
    codes: Tensor  # [B, Z]
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    single_layer: tuple[nn.Linear, Callable[[Tensor], Tensor]] | None  # an encoder of the form s(Wx + b), else None
    decoder_parameters: Iterable[Tensor]
    noise: Noise


class Regularizer:
    """No regularizer, and the base class of the others."""

    bounded_codes = False  # needs codes in [0, 1]

    def transform(self, codes: Tensor) -> Tensor:
        """The codes [B, Z] to use in place of `codes` [B, Z], in training and afterwards."""
        return codes

    def penalty(self, seen: AutoencoderPass) -> Tensor:
        """The penalty to add to the reconstruction error, [B]."""
        return torch.zeros_like(seen.codes[:, 0])


class L1(Regularizer):
    """weight * ||z||_1."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def penalty(self, seen: AutoencoderPass) -> Tensor:
        return self.weight * seen.codes.abs().sum(dim=1)


class KL(Regularizer):
    """weight * `kl_sparsity` of codes in [0, 1]."""

    bounded_codes = True

    def __init__(self, weight: float, target: float) -> None:
        self.weight, self.target = weight, target

    def penalty(self, seen: AutoencoderPass) -> Tensor:
        return self.weight * kl_sparsity(seen.codes, self.target).expand(len(seen.codes))


class KSparse(Regularizer):
    """Keeps the k largest values of each code and sets the others to 0; no penalty."""

    def __init__(self, k: int) -> None:
        self.k = k

    def transform(self, codes: Tensor) -> Tensor:
        return keep_largest(codes, self.k)


class Contractive(Regularizer):
    """weight * ||d z / d x||_F^2 (Rifai et al. 2011, eq. 2).

    Exact for an encoder of a single layer; otherwise Hutchinson's estimate.
    """

    def __init__(self, weight: float, probes: int = 1) -> None:
        self.weight, self.probes = weight, probes

    def penalty(self, seen: AutoencoderPass) -> Tensor:
        if seen.single_layer is not None:
            linear, activation = seen.single_layer
            return self.weight * single_layer_jacobian(seen.images.flatten(1), linear, activation)
        return self.weight * hutchinson_jacobian(seen.encode, seen.images, seen.noise, self.probes)


class RAEL2(Regularizer):
    """beta / 2 ||z||^2 + decoder_weight ||theta_D||^2, theta_D: the decoder's weights (Ghosh et al. 2020, eq. 11).

    As in the authors' code, biases and the gains of normalization do not count. Their code also leaves out the first,
    linear layer; here it counts, because a perceptron has only linear layers.

    Their code averages the squared error over the N pixels and z^2 over the Z dimensions; here both are sums. So
    their weights b (codes) and l (decoder) become beta = 2 N b / Z and decoder_weight = N l.
    """

    def __init__(self, beta: float, decoder_weight: float) -> None:
        self.beta, self.decoder_weight = beta, decoder_weight

    def penalty(self, seen: AutoencoderPass) -> Tensor:
        matrices = (parameter for parameter in seen.decoder_parameters if parameter.dim() > 1)
        weights = sum(full_precision(matrix).square().sum() for matrix in matrices)
        return 0.5 * self.beta * seen.codes.square().sum(dim=1) + self.decoder_weight * weights


class RAEGP(Regularizer):
    """beta / 2 ||z||^2 + weight ||d D(z) / d z||_F^2, with Hutchinson's estimate (Ghosh et al. 2020, eq. 12).

    The authors' code penalizes a different gradient, that of ||D(z)||^2, so its weight cannot be used here. Its beta
    can, converted as for `RAEL2`.
    """

    def __init__(self, beta: float, weight: float, probes: int = 1) -> None:
        self.beta, self.weight, self.probes = beta, weight, probes

    def penalty(self, seen: AutoencoderPass) -> Tensor:
        slopes = hutchinson_jacobian(seen.decode, seen.codes, seen.noise, self.probes)
        return 0.5 * self.beta * seen.codes.square().sum(dim=1) + self.weight * slopes
