"""What a model is worth by one protocol: its numbers, how each was measured, and pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.evaluation.code_pictures import latent_pictures
from lightning_gen.evaluation.held_out import HeldOut
from lightning_gen.evaluation.likelihood import LikelihoodEvaluator
from lightning_gen.metrics.points import PointEvaluator
from lightning_gen.metrics.protocol import Metrics, Numbers, Protocols, versions
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.models.base import GenerativeModel, Picture
from lightning_gen.models.use import in_precision

Measure = Callable[[GenerativeModel, ImageDataModule, SampleEvaluator, dict[str, Any]], Numbers]
"""Measures a model; the last argument goes into the protocol of each number."""

SHOWN = 64  # held-out images that a model gets for its pictures


@dataclass
class Report:
    """Metrics by name, the protocol of each, and pictures of what they found."""

    metrics: Metrics = field(default_factory=dict)
    protocols: Protocols = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)

    def add(self, numbers: Numbers) -> None:
        """Add numbers; a name that is there already keeps its number."""
        metrics, protocols = numbers
        new = [name for name in metrics if name not in self.metrics]
        self.metrics |= {name: metrics[name] for name in new}
        self.protocols |= {name: protocols[name] for name in new}


@dataclass
class Evaluator:
    """Measures models by the protocol `name`, against the images of `data`.

    `note`: which features were picked, and why. `of_encoder`: what is measured only of models that encode and sample.
    `likelihood`: of models that have densities. `projection`: of codes, for their picture; None: no picture.
    """

    name: str
    note: str
    data: ImageDataModule
    sample_evaluator: SampleEvaluator | PointEvaluator
    of_encoder: tuple[Measure, ...] = ()
    likelihood: LikelihoodEvaluator | None = None
    projection: str | None = None

    def __post_init__(self) -> None:
        self.held_out = HeldOut(self.data)

    @torch.no_grad()
    def __call__(self, model: GenerativeModel, **context: Any) -> Report:
        """Measure a model in evaluation mode: its own metrics, its samples, its reconstructions and codes.

        All but the likelihood, which takes too long to be measured while training. Every process calls this.

        Args:
            model: in evaluation mode, on the evaluator's device.
            context: what only the caller knows, for the protocol of each number: `ema`, `checkpoint`, `step`.
        """
        context = {"evaluation": self.name, "batch_norm": "running statistics", "versions": versions(), **context}
        report = Report()
        report.add(self.held_out(model, context))
        if not model.can_sample:
            return report
        report.add(self.sample_evaluator(model.sample, **context))
        report.pictures |= self.sample_evaluator.pictures()
        if model.can_encode and isinstance(self.sample_evaluator, SampleEvaluator):
            for measure in self.of_encoder:
                report.add(measure(model, self.data, self.sample_evaluator, context))
        return report

    def measure_likelihood(self, model: GenerativeModel, **context: Any) -> Numbers:
        """The test likelihood of a model in evaluation mode, if it has one and the protocol asks for it."""
        return ({}, {}) if self.likelihood is None else self.likelihood(model, self.data, **context)

    @torch.no_grad()
    def draw(self, model: GenerativeModel) -> dict[str, Picture]:
        """Pictures of a model in evaluation mode: its own, and its codes where it has any."""
        batch = next(in_precision(model, self.data.test_batches(model.device, limit=SHOWN)))
        pictures = model.pictures(batch.images, batch.labels)
        if model.can_encode and self.projection is not None:
            held_out = in_precision(model, self.data.test_batches(model.device))
            pictures |= latent_pictures(model, held_out, self.data.test.classes, self.projection)
        return pictures

    def distance_name(self) -> str:
        """The distance of samples from real images: `eval/fid_classifier`, say, or `eval/energy_distance` of points.

        Raises:
            UserError: the Frechet distance is not among the metrics.
        """
        if isinstance(self.sample_evaluator, SampleEvaluator) and "fid" not in self.sample_evaluator.metrics:
            raise UserError(
                "checkpoint.monitor=fid needs fid among evaluation.metrics: add it, or watch another one."
            )
        return self.sample_evaluator.distance_name
