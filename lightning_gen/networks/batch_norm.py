"""Batch norm: control over its running statistics, and statistics over all processes on a CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from lightning_gen import distributed


@contextmanager
def frozen_statistics(network: nn.Module, frozen: bool = True) -> Iterator[None]:
    """Batch norm normalizes by the batch inside, but its running statistics stand still."""
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm)] if frozen else []
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class SynchronizedBatchNorm(_BatchNorm):
    """Batch norm by the statistics of the batches of all processes, on any device.

    torch's SyncBatchNorm does this on GPUs only. All processes have batches of the same size. In evaluation, and in a
    single process, it is the batch norm of torch.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"expected a batch [B, C, ...], got {list(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        world = distributed.rank_and_world()[1]
        if world == 1 or not (self.training or self.running_mean is None):
            return super().forward(input)
        self._check_input_dim(input)
        over = [dim for dim in range(input.ndim) if dim != 1]
        shape = [1, -1, *[1] * (input.ndim - 2)]
        mean = distributed.mean_over_processes(input.mean(over))
        centred = input - mean.view(shape)
        variance = distributed.mean_over_processes(centred.square().mean(over))
        if self.training and self.running_mean is not None:
            self._follow(mean.detach(), variance.detach(), world * input.numel() // input.shape[1])
        scale = torch.rsqrt(variance + self.eps)
        if self.weight is not None:
            scale = scale * self.weight
        output = centred * scale.view(shape)
        return output if self.bias is None else output + self.bias.view(shape)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean), momentum)
        self.running_var.lerp_((variance * count / max(count - 1, 1)).to(self.running_var), momentum)


def synchronize(network: nn.Module) -> None:
    """Make every batch norm in the network one over all processes, with the same weights and statistics."""
    for parent in list(network.modules()):
        for name, norm in parent.named_children():
            if type(norm) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
                assert isinstance(norm, _BatchNorm)
                made = SynchronizedBatchNorm(
                    norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats
                )
                made.__dict__.update(norm.__dict__)  # parameters, buffers and hooks: the same objects
                setattr(parent, name, made)
