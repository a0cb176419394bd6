"""Greedy layer-wise pretraining, as stages of one training run (Bengio et al. 2007; Vincent et al. 2010).

Stage k trains layer k of the encoder and its mirror in the decoder as an autoencoder of the output of the layers
below, which are fixed. The stage is a function of the step alone, so a run can be resumed in the middle of one.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_gen.errors import UserError
from lightning_gen.networks.mlp import MLPDecoder, MLPEncoder, TransposedLinear
from lightning_gen.networks.precision import full_precision
from lightning_gen.objectives.reconstruction import cross_entropy, squared_error_of_values
from lightning_gen.randomness import Noise

Corruption = Callable[..., Tensor]  # (values, noise, amount=...) -> values
Reconstruction = Callable[[Tensor, Tensor], Tensor]  # (raw output, images) -> [B]


class Layer(NamedTuple):
    """One layer of the encoder, its mirror in the decoder, and the activation of the layer below."""

    encode: nn.Module  # [B, D] -> [B, D']
    decode: nn.Module  # [B, D'] -> [B, D], before the activation
    activation: nn.Module | None  # of the layer below; None: the images are below


def layers_of(encoder: nn.Module, code: nn.Module, decoder: nn.Module) -> list[Layer]:
    """The layers of an encoder and a decoder that are mirrored MLPs, from the images up; `code` is the last layer.

    Raises:
        UserError: networks that are not MLPs with the same number of layers.
    """
    if not (isinstance(encoder, MLPEncoder) and isinstance(decoder, MLPDecoder)):
        raise UserError("model.pretrain.steps_per_layer needs networks=mlp; set it to 0 for other networks.")
    blocks: list[list[nn.Module]] = []
    for module in list(encoder.net)[1:]:  # the first one flattens images
        if isinstance(module, nn.Linear):
            blocks.append([])
        blocks[-1].append(module)
    up = [nn.Sequential(*block) for block in blocks] + [code]
    down = [module for module in decoder.net if isinstance(module, nn.Linear | TransposedLinear)][::-1]
    if len(up) != len(down):
        raise UserError(
            "model.pretrain.steps_per_layer needs as many numbers in networks.decoder.widths as in "
            "networks.encoder.widths."
        )
    below = [None, *(block[1] for block in blocks)]
    return [Layer(*parts) for parts in zip(up, down, below, strict=True)]


class Pretraining:
    """Trains each layer for `steps_per_layer` steps, from the images up, before all are trained together.

    The loss of the first layer is the model's reconstruction error. The loss of a layer above is the cross entropy if
    the layer below has sigmoid units, otherwise the squared error.

    Args:
        layers: the layers, see `layers_of`.
        steps_per_layer: training steps for each layer; 0: no pretraining.
        amounts: the strength of the corruption for each layer's input; None: the corruption's own for all.

    Raises:
        UserError: a number of amounts that is not the number of layers.
    """

    def __init__(self, layers: list[Layer], steps_per_layer: int, amounts: Sequence[float] | None = None) -> None:
        if amounts is not None and len(amounts) != len(layers):
            raise UserError(
                f"model.pretrain.amounts has {len(amounts)} numbers for {len(layers)} layers: set one for each layer."
            )
        self.layers, self.steps_per_layer, self.amounts = layers, steps_per_layer, amounts

    @property
    def steps(self) -> int:
        """The number of steps of all layer-wise stages."""
        return self.steps_per_layer * len(self.layers)

    def stage(self, step: int) -> int:
        """The layer that a step trains, from 0; the number of layers when all are trained together."""
        return min(step // self.steps_per_layer, len(self.layers)) if self.steps_per_layer else len(self.layers)

    def progress(self, step: int, total: int) -> tuple[int, int]:
        """The step within its stage and the steps of the stage: each stage has its own learning-rate schedule."""
        if step < self.steps:
            return step % self.steps_per_layer, self.steps_per_layer
        return step - self.steps, total - self.steps

    def loss(
        self, stage: int, images: Tensor, corruption: Corruption | None, reconstruction: Reconstruction, noise: Noise
    ) -> Tensor:
        """The loss [B] of layer number `stage`, as a denoising autoencoder of its input."""
        layer = self.layers[stage]
        clean = images.flatten(1)
        with torch.no_grad():
            for below in self.layers[:stage]:
                clean = full_precision(below.encode(clean))
        corrupted = clean
        if corruption is not None:
            options = {} if self.amounts is None else {"amount": self.amounts[stage]}
            corrupted = corruption(clean, noise, **options)
        raw = layer.decode(layer.encode(corrupted))
        if layer.activation is None:
            return reconstruction(raw.view_as(images), images)
        if isinstance(layer.activation, nn.Sigmoid):
            return cross_entropy(raw, clean)
        return squared_error_of_values(layer.activation(raw), clean)
