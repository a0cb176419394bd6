"""A trained run in Python: its model, data and metrics, from the run directory alone."""

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from omegaconf import DictConfig
from torch import Tensor

from lightning_gen.config.build import build_data
from lightning_gen.data.module import ImageDataModule
from lightning_gen.files import shortest
from lightning_gen.models.use import draw_samples
from lightning_gen.pictures import as_images, to_float
from lightning_gen.runs.loading import load_model
from lightning_gen.runs.run import Run

Images = Tensor | np.ndarray  # [N, C, H, W], uint8 or floating point in [0, 1]
BATCH = 500  # images processed at once


def load(path: str | Path, checkpoint: str = "best", device: torch.device | str | None = None) -> "TrainedRun":
    """Open a run directory with its model; `lightning_gen.load` documents it."""
    return TrainedRun(Run.load(path), checkpoint, device)


class TrainedRun:
    """A run directory and its model in evaluation mode, with averaged weights if it has them.

    Inputs are torch tensors on any device, or numpy arrays. Images are [N, C, H, W], uint8 or floating point in [0,
    1], with the shape that the model was trained on. Results are float32 tensors on the CPU. A large N is processed
    in parts, so that memory does not grow with it.

    `labels`, integers [N], are needed by models that are conditioned on classes (`conditional=true`), and not
    used by others.

    Of a run whose data are rows of a table, images are rows, floats [N, 1, 1, D] or [N, D] as
    `run.model.table.encode(columns)` gives them; `run.model.table.decode(rows)` gives the columns back.

    Every method raises ValueError for arrays of a wrong shape, type or range, and UserError for what the model cannot
    do, such as encoding by a GAN.

    Attributes:
        path: the run directory, absolute.
        config: its config.yaml.
        checkpoint: which checkpoint the model is from: `best`, `last`, or a path.
        model: the LightningModule itself.
    """

    def __init__(self, run: Run, checkpoint: str = "best", device: torch.device | str | None = None) -> None:
        self._run, self.checkpoint = run, checkpoint
        self.path: Path = run.path
        self.config: DictConfig = run.config
        with torch.random.fork_rng(devices=[]):  # building the model draws initial weights
            self.model = load_model(run, checkpoint, None if device is None else torch.device(device))

    # -- its record and its data -----------------------------------------------------------------------------

    @property
    def summary(self) -> dict[str, Any]:
        """summary.json as it is now: metrics, best, progress, protocol, provenance, status, later evaluations."""
        return self._run.read_summary()

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers at the end of training by name, such as `eval/fid_classifier`; empty before there are any."""
        return self.summary.get("metrics", {})

    @cached_property
    def data(self) -> ImageDataModule:
        """The data set of the run: `data.train` and `data.test`, each with `images`, `labels` and `classes`.

        `images` are uint8 [N, C, H, W]. They are read when they are first asked for.
        """
        return build_data(self.config)

    # -- the model -------------------------------------------------------------------------------------------

    def sample(self, count: int, seed: int = 0, label: int | None = None, truncation: float | None = None) -> Tensor:
        """Images [count, C, H, W] in [0, 1] from the model, the same for the same seed on every device.

        They are the images of `lightning-gen sample --seed SEED`.

        Args:
            count: how many, 1 or more.
            seed: of the latents; the global random generators are not touched.
            label: the class of all of them, 0 to K - 1, for a model that is conditioned on K classes; None draws
                the classes at random.
            truncation: the codes of a GAN are drawn within +-this, or StyleGAN2's styles are at this part of their
                distance from the mean style: fewer kinds of images, each more typical.

        Raises:
            UserError: no such class, or a truncation of what is not a GAN.
        """
        return draw_samples(self.model, count, seed, label, truncation)

    def encode(self, images: Images, labels: ArrayLike | None = None) -> Tensor:
        """Codes [N, Z] of images; for a VAE the mean of the posterior."""
        return self._in_parts(self.model.encode, self._images(images), self._labels(labels, len(images)))

    def decode(self, codes: Images, labels: ArrayLike | None = None) -> Tensor:
        """Images [N, C, H, W] in [0, 1] of codes, floating point [N, Z]."""
        return self._in_parts(self._decode, self._codes(codes), self._labels(labels, len(codes)))

    def reconstruct(self, images: Images, labels: ArrayLike | None = None) -> Tensor:
        """Reconstructions [N, C, H, W] in [0, 1] of images: encoded and decoded."""
        return self._in_parts(self.model.reconstruct, self._images(images), self._labels(labels, len(images)))

    def interpolate(self, start: Images, end: Images, steps: int = 8, labels: ArrayLike | None = None) -> Tensor:
        """Images [N, steps, C, H, W] in [0, 1], decoded along the straight lines between codes.

        Args:
            start: N images, which are encoded, or codes [N, Z].
            end: likewise, the same number.
            steps: images on each line, both ends included, 2 or more.
            labels: integers [N], for both ends.
        """
        ends = [self.encode(side, labels) if np.ndim(side) == 4 else self._codes(side) for side in (start, end)]
        if len(ends[0]) != len(ends[1]):
            raise ValueError(f"expected equal numbers of starts and ends, got {len(ends[0])} and {len(ends[1])}.")
        if steps < 2:
            raise ValueError(f"steps={steps}: use 2 or more images per line.")
        weights = torch.linspace(0, 1, steps).view(1, -1, 1)
        line = torch.lerp(ends[0].unsqueeze(1), ends[1].unsqueeze(1), weights)  # [N, steps, Z]
        shared = None if labels is None else torch.as_tensor(labels).repeat_interleave(steps)
        return self.decode(line.flatten(0, 1), shared).unflatten(0, line.shape[:2])

    def _decode(self, codes: Tensor, labels: Tensor | None) -> Tensor:
        return self.model.decode(self.model.labelled(codes, labels))

    # -- what goes in ----------------------------------------------------------------------------------------

    def _images(self, images: Images) -> Tensor:
        channels, height, width = self.model.image_shape
        if self.model.table is not None:
            rows = torch.as_tensor(images).detach().cpu().float()
            if rows.ndim < 2 or rows.shape[-1] != width or not len(rows):
                raise ValueError(f"expected rows [N, {width}] as the table encodes them, got {list(rows.shape)}.")
            return rows.view(-1, 1, 1, width)
        return as_images(images, (channels, height, width))

    def _codes(self, codes: Images) -> Tensor:
        found = codes.detach() if isinstance(codes, Tensor) else torch.from_numpy(np.array(codes))
        if found.ndim != 2 or found.shape[1] != self.model.latent_dim or not found.is_floating_point():
            raise ValueError(
                f"expected float codes [N, {self.model.latent_dim}], got {found.dtype} {list(found.shape)}."
            )
        return found.cpu().float()

    def _labels(self, labels: ArrayLike | None, count: int) -> Tensor | None:
        if labels is None or not self.model.num_classes:
            return None
        found = torch.as_tensor(labels).cpu()
        if found.shape != (count,) or found.is_floating_point():
            raise ValueError(f"expected {count} integer labels, got {found.dtype} {list(found.shape)}.")
        if found.min() < 0 or found.max() >= self.model.num_classes:
            raise ValueError(
                f"expected labels from 0 to {self.model.num_classes - 1}, got {found.unique().tolist()}."
            )
        return found.long()

    @torch.no_grad()
    def _in_parts(self, function: Callable[..., Tensor], inputs: Tensor, labels: Tensor | None) -> Tensor:
        """`function(inputs, labels)` of images or codes [N, ...], BATCH at a time, as float32 on the CPU."""
        model, results = self.model, []
        for start in range(0, len(inputs), BATCH):
            part = slice(start, start + BATCH)
            its = None if labels is None else labels[part].to(model.device)
            values = to_float(inputs[part].to(model.device)).to(model.dtype)
            results.append(function(values, its).float().cpu())
        return torch.cat(results)

    # -- what a person sees ----------------------------------------------------------------------------------

    def __repr__(self) -> str:
        """The run in five lines: where it is, what it is, how far it got, its best number."""
        model, best = self.model, self.summary.get("best", {})
        millions = sum(parameter.numel() for parameter in model.parameters()) / 1e6
        size = f"{millions:.2f} million parameters, codes of {model.latent_dim} numbers"
        shape = "x".join(map(str, model.image_shape))
        weights = "averaged weights" if model.averaged else "weights as trained"
        lines = [
            f"TrainedRun({shortest(self.path)!r}, checkpoint={self.checkpoint!r})",
            f"  model  {self.config.model.name}, {size}",
            f"  data   {self.config.dataset.name}, images {shape}",
            f"  step   {model.step_loaded:,}, {weights}, on {model.device}",
        ]
        if best.get("value") is not None:
            lines.append(f"  best   {best['metric']} {best['value']:.4g} at step {best['step']:,}")
        return "\n".join(lines)
