"""Losses are computed in full precision, whatever mixed precision the networks run in."""

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 to float32; float32 and float64 as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
