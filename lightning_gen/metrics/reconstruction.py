"""Metrics of reconstructions: squared error, PSNR, SSIM, LPIPS and the Frechet distance."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lightning_gen import distributed
from lightning_gen.errors import UserError
from lightning_gen.files import content_hash
from lightning_gen.metrics.cache import ResultCache
from lightning_gen.metrics.feature_pass import CHUNK, from_images, isolated_rng, my_chunks, real_set
from lightning_gen.metrics.features import FeatureExtractor, adapt_channels, full_float32
from lightning_gen.metrics.frechet import Moments, frechet_distance
from lightning_gen.metrics.protocol import Numbers, numbers
from lightning_gen.pictures import to_float, to_uint8
from lightning_gen.randomness import Stream, mix

Reconstruct = Callable[..., Tensor]  # (images) or (images, labels) -> reconstructions
"""Maps images, float [N, C, H, W] in [0, 1], to reconstructions with the same shape and range."""

Score = Callable[[Tensor, Tensor], Tensor]
"""Compares two batches of images, float [N, C, H, W] in [0, 1]; returns one value for each pair, [N]."""

LPIPS_SIDE = 32  # pixels; AlexNet halves its images too often for smaller ones
ALEXNET = "alexnet-owt-7be5be79.pth"


def squared_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean squared error per pixel of images [N, C, H, W], [N]."""
    return (a - b).square().flatten(1).mean(1)


def psnr(a: Tensor, b: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of images [N, C, H, W] in [0, 1], in dB [N]; 100 dB for equal images."""
    return -10 * squared_error(a, b).clamp_min(1e-10).log10()


def ssim(a: Tensor, b: Tensor) -> Tensor:
    """Structural similarity (SSIM) of images [N, C, H, W] in [0, 1], [N] (Wang et al. 2004).

    The window is their Gaussian one of 11 pixels. For images with a side of 11 pixels or less it is a uniform window
    of 7 pixels, or of the side if that is smaller. Borders are reflected, as in torchmetrics.
    """
    rows, columns = (_window_means(side, min(a.shape[-2:])).to(a) for side in a.shape[-2:])
    with full_float32():
        mean_a, mean_b, aa, bb, ab = (rows @ part @ columns.T for part in (a, b, a * a, b * b, a * b))
    variance_a, variance_b = (aa - mean_a**2).clamp_min(0), (bb - mean_b**2).clamp_min(0)
    luminance = (2 * mean_a * mean_b + 0.01**2) / (mean_a**2 + mean_b**2 + 0.01**2)
    structure = (2 * (ab - mean_a * mean_b) + 0.03**2) / (variance_a + variance_b + 0.03**2)
    return (luminance * structure).flatten(1).mean(1)


@functools.cache
def _window_means(length: int, shorter: int) -> Tensor:
    """The matrix [length, length] that takes the weighted mean of the window around each pixel along one side.

    A product with it is many times as fast on a CPU as a convolution with a window of one channel.
    """
    if shorter > 11:
        weights = torch.exp(-((torch.arange(11) - 5) / 1.5).square() / 2)
    else:
        weights = torch.ones(min(7, shorter - 1 + shorter % 2))
    reach = len(weights) // 2
    near = torch.arange(length)[:, None] + torch.arange(-reach, reach + 1)  # [length, window]
    last = length - 1
    reflected = last - (last - near.abs()).abs()
    weights = (weights / weights.sum()).expand(length, -1)
    return torch.zeros(length, length).scatter_add_(1, reflected, weights)


def build_lpips() -> Score:
    """The learned perceptual distance (LPIPS) of images [N, C, H, W] in [0, 1], [N], with the features of AlexNet.

    Source: Zhang et al. 2018.

    Raises:
        UserError: torchvision's AlexNet weights are not in the torch hub cache. They are not downloaded here.
    """
    from torchmetrics.functional.image.lpips import _NoTrainLpips

    path = Path(torch.hub.get_dir()) / "checkpoints" / ALEXNET
    if not path.is_file():
        raise UserError(
            f"evaluation.metrics: lpips needs {path}: download https://download.pytorch.org/models/{ALEXNET} there."
        )
    with torch.random.fork_rng(devices=[]):  # the constructor draws initial weights
        net = _NoTrainLpips(net="alex")

    @torch.no_grad()
    def distance(a: Tensor, b: Tensor) -> Tensor:
        a, b = (adapt_channels(x, 3) for x in (a, b))
        return net.to(a.device)(a, b, normalize=True).reshape(len(a))

    return distance


@torch.no_grad()
def evaluate_reconstruction(
    reconstruct: Reconstruct,
    images: Tensor,
    extractor: FeatureExtractor | None = None,
    *,
    labels: Tensor | None = None,
    lpips: Score | None = None,
    cache: ResultCache | None = None,
    batch_size: int = CHUNK,
    seed: int = 0,
    device: torch.device | str = "cpu",
    **context: Any,
) -> Numbers:
    """Compare images with their reconstructions, each pair and (with an extractor) the two sets.

    Args:
        reconstruct: reconstructs images. If it draws from the global random generators, each chunk of 250 images has
            a seed, and the state of the generators is restored afterwards.
        images: uint8 [N, C, H, W].
        extractor: for the Frechet distance of reconstructions; ``None``: without it.
        labels: classes, int64 [N], which are then given to ``reconstruct`` too.
        lpips: the learned perceptual distance, from ``build_lpips``; ``None``: without it.
        cache: keeps the moments of the features of ``images``; ``None``: they are computed at each call.
        batch_size: the number of images in a call of ``reconstruct``.
        seed: see ``reconstruct``.
        device: where ``reconstruct`` and the extractor run.
        context: added to the protocols, such as ``split``, ``ema`` and ``checkpoint``.

    Returns:
        The metrics by name and the protocol of each. ``eval/reconstruction_mse`` is the mean squared error per value,
        for values in [0, 1].
    """
    device = torch.device(device)
    scores: dict[str, Score] = {"reconstruction_mse": squared_error, "psnr": psnr, "ssim": ssim}
    if lpips is not None:
        scores["lpips"] = lpips
    if extractor is not None:
        extractor = extractor.to(device)
    totals = torch.zeros(len(scores), dtype=torch.float64)
    moments = None if extractor is None else Moments.empty(extractor.num_features, device)
    for made, real in _reconstructions(reconstruct, images, labels, batch_size, seed, device):
        totals += torch.stack([score(made, real).double().sum().cpu() for score in scores.values()])
        if extractor is not None and moments is not None:
            moments.update(extractor(to_float(to_uint8(made))))
    distributed.all_reduce_sum(totals)
    shared = {"images": "reconstructions", "n_fake": len(images), "n_real": len(images)}
    digest = content_hash(images)
    shared |= {"real_hash": digest[:12], "seed": seed, **context}
    metrics, protocols = numbers(dict(zip(scores, (totals / len(images)).tolist(), strict=True)), **shared)
    if extractor is not None and moments is not None:
        moments.all_reduce()
        everything, cache = torch.arange(len(images)), cache or ResultCache(None, device)
        originals = real_set(cache, images, digest, everything, extractor, (), batch_size)
        name = f"eval/{extractor.metric_name('reconstruction_fid')}"
        metrics[name] = frechet_distance(moments, originals.moments)
        protocols[name] = {"metric": "reconstruction_fid", **extractor.protocol(), **shared}
    return metrics, protocols


def _reconstructions(
    reconstruct: Reconstruct,
    images: Tensor,
    labels: Tensor | None,
    batch_size: int,
    seed: int,
    device: torch.device,
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's share of reconstructions and originals, as batches of float [B, C, H, W] in [0, 1]."""
    source = from_images(images, torch.arange(len(images)))
    for index, size in my_chunks(len(images)):
        real = to_float(source(index, size).to(device)).split(batch_size)
        known = (None,) if labels is None else labels[index * CHUNK :][:size].to(device).split(batch_size)
        with isolated_rng(device, mix(seed, Stream.RECONSTRUCTION, index)):
            made = [
                (reconstruct(part) if its is None else reconstruct(part, its)).float()
                for part, its in zip_longest(real, known)
            ]
        yield from zip(made, real, strict=True)
