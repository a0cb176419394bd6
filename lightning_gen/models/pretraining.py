"""Greedy layer-wise pretraining of a stack, as stages of one training run (Bengio et al. 2007; Vincent et al. 2010).

Stage k trains layer k of the encoder and its mirror in the decoder, as an autoencoder of what the layers below give;
those stand still. Which stage a step belongs to is a function of the step alone, so a run resumes in the middle.
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
    """One layer of the encoder, its mirror in the decoder, and the activation of what lies below both."""

    encode: nn.Module  # [B, D] -> [B, D']
    decode: nn.Module  # [B, D'] -> [B, D], before the activation
    activation: nn.Module | None  # of the layer below; None: the images are below


def layers_of(encoder: nn.Module, code: nn.Module, decoder: nn.Module) -> list[Layer]:
    """The layers of mirrored MLPs, from the images up; `code` is the encoder's last.

    Raises:
        UserError: networks that are not MLPs of as many layers each.
    """
    if not (isinstance(encoder, MLPEncoder) and isinstance(decoder, MLPDecoder)):
        raise UserError("model.pretrain.steps_per_layer needs networks=mlp; set it to 0 for other networks.")
    blocks: list[list[nn.Module]] = []
    for module in list(encoder.net)[1:]:  # the first flattens
        if isinstance(module, nn.Linear):
            blocks.append([])
        blocks[-1].append(module)
    up = [nn.Sequential(*block) for block in blocks] + [code]
    down = [module for module in decoder.net if isinstance(module, nn.Linear | TransposedLinear)][::-1]
    if len(up) != len(down):
        raise UserError("model.pretrain.steps_per_layer needs as many networks.decoder.widths as encoder.widths.")
    below = [None, *(block[1] for block in blocks)]
    return [Layer(*parts) for parts in zip(up, down, below, strict=True)]


class Pretraining:
    """`steps_per_layer` steps for each layer from the images up, before all are trained together; 0: none.

    `amounts`: how much corruption each layer's input gets, one number a layer; None: the corruption's own.
    The error of the first layer is the model's reconstruction error; further up it is the cross entropy where the
    layer below has logistic units, and the squared error of its values elsewhere.
    """

    def __init__(self, layers: list[Layer], steps_per_layer: int, amounts: Sequence[float] | None = None) -> None:
        if amounts is not None and len(amounts) != len(layers):
            raise UserError(f"model.pretrain.amounts has {len(amounts)} numbers for {len(layers)} layers.")
        self.layers, self.steps_per_layer, self.amounts = layers, steps_per_layer, amounts

    @property
    def steps(self) -> int:
        """Steps of all the stages but the last, joint one."""
        return self.steps_per_layer * len(self.layers)

    def stage(self, step: int) -> int:
        """Which layer the step trains, from 0; the number of layers from where all are trained together."""
        return min(step // self.steps_per_layer, len(self.layers)) if self.steps_per_layer else len(self.layers)

    def progress(self, step: int, total: int) -> tuple[int, int]:
        """The step within its stage and how many steps the stage has: a schedule runs anew in each."""
        if step < self.steps:
            return step % self.steps_per_layer, self.steps_per_layer
        return step - self.steps, total - self.steps

    def loss(
        self, stage: int, images: Tensor, corruption: Corruption | None, reconstruction: Reconstruction, noise: Noise
    ) -> Tensor:
        """The error of layer `stage` as a denoising autoencoder of its input, [B]."""
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
