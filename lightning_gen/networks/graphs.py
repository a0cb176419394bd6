"""Whether a network is being written down as a graph, for an export."""

import torch


def exporting() -> bool:
    """Whether torch.export or the tracer of TorchScript is recording: then no loop may depend on the batch's size."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()
