"""`trainer.precision=bf16-true` and `16-true`: layers in half precision, all else in float32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from pytorch_lightning.plugins.precision.half import HalfPrecision
from torch import nn

from lightning_gen.networks.precision import to_half

HALF_PRECISIONS = ("bf16-true", "16-true")


class HalfLayers(HalfPrecision):
    """Lightning's plugin turns images into half precision too, and whatever is made in a step, noise included."""

    def convert_module(self, module: nn.Module) -> nn.Module:
        return to_half(module, self._desired_input_dtype)

    def convert_input(self, data: Any) -> Any:
        return data

    def forward_context(self) -> AbstractContextManager:  # type: ignore[override]
        return nullcontext()
