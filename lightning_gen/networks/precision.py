"""Losses are computed in full precision, even where the networks run in mixed precision."""

import torch
from torch import Tensor


def full_precision(tensor: Tensor) -> Tensor:
    """Convert float16 and bfloat16 to float32; leave float32 and float64 unchanged."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
