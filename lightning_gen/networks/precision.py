"""One rule of precision: networks run in `trainer.precision`, all that is computed from their outputs in full.

What runs lower are the layers: matrix products and convolutions, under autocast in mixed precision, and with weights
of 16 bits in true half precision (`to_half`). In float32 at least are images and codes, distributions with their
draws and densities, distances, losses, penalties and the gradients in them, statistics of batches, and what is kept
from step to step: running averages, a codebook, a learned sigma, and in mixed precision the singular vectors of
spectral norm. So whatever leaves a network goes through `full_precision`, matrix products outside of networks stand
under `no_autocast`, and modules that hold such state are `FullPrecision`.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.parametrize import is_parametrized

HALF = (torch.float16, torch.bfloat16)


def full_precision(tensor: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; leave float32 and float64 unchanged."""
    return tensor.float() if tensor.dtype in HALF else tensor


def no_autocast(tensor: Tensor) -> AbstractContextManager[None]:
    """In this context, operations on the tensor's device keep the precision of their arguments."""
    kind = tensor.device.type
    enabled = kind != "meta" and torch.is_autocast_enabled(kind)
    return torch.autocast(kind, enabled=False) if enabled else nullcontext()


class FullPrecision(nn.Module):
    """A module that is no layer of a network: it stays in full precision, with all that it holds."""


def to_half(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Put the weights of a model's layers into float16 or bfloat16, in place.

    Each layer takes its inputs in the precision of its weights. Buffers, which hold averages, and batch norm stay in
    float32.
    """
    for module in _layers(model):
        weights = list(module.parameters(recurse=False))
        for weight in weights:
            weight.data = weight.data.to(dtype)
        if isinstance(module, _SpectralNorm):  # its vectors are multiplied with the weights
            module.to(dtype)
        if weights or is_parametrized(module):
            module.register_forward_pre_hook(partial(_inputs_to, dtype), with_kwargs=True)
    return model


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """A module and those in it, but for what stays in full precision."""
    if not isinstance(module, FullPrecision | _BatchNorm):
        yield module
        for child in module.children():
            yield from _layers(child)


def _inputs_to(
    dtype: torch.dtype, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def converted(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    return tuple(converted(value) for value in args), {key: converted(value) for key, value in kwargs.items()}
