"""Networks that torch.compile has compiled, for `trainer.compile`.

Only training steps use the compiled form: an evaluation gives the numbers of a network that is not compiled.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

from lightning_gen.networks.spectral import is_singular_vector

BACKEND = "inductor"


def compile_networks(networks: Iterable[nn.Module]) -> int:
    """Compile networks in place, each when it is first called, and return their number.

    Networks with spectral norm are left as they are: each forward pass changes their singular vectors, which the
    compiled form may read again in a backward pass. Names in checkpoints do not change.
    """
    torch.compiler.reset()  # or PyTorch would stop compiling after a few models in one process
    chosen = [net for net in networks if not any(is_singular_vector(name) for name, _ in net.named_buffers())]
    for network in chosen:
        network.compile(backend=BACKEND, dynamic=False)
    return len(chosen)


def uncompiled(compiled: bool) -> AbstractContextManager[object]:
    """In this context networks run as they do without being compiled; `compiled`: whether any are.

    Derivatives of second order need it, which the compiled form does not have.
    """
    return torch.compiler.set_stance("force_eager") if compiled else nullcontext()
