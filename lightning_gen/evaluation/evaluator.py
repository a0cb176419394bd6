"""The evaluation of a model by one protocol: its metrics, the protocol of each, and pictures."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from lightning_gen.data.loader import Batch
from lightning_gen.data.module import ImageDataModule
from lightning_gen.data.words import worded
from lightning_gen.errors import NotFinite, UserError
from lightning_gen.evaluation.code_pictures import latent_pictures
from lightning_gen.evaluation.held_out import HeldOut
from lightning_gen.evaluation.likelihood import LikelihoodEvaluator
from lightning_gen.metrics.points import PointEvaluator
from lightning_gen.metrics.protocol import Metrics, Numbers, Protocols, versions
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.metrics.table_evaluator import TableEvaluator
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import Codes, codes_of, in_precision
from lightning_gen.networks.shapes import is_vector
from lightning_gen.pictures import Picture
from lightning_gen.progress import progress

Measure = Callable[[GenerativeModel, ImageDataModule, SampleEvaluator, dict[str, Any]], Numbers]
"""Measures a model; the last argument is added to the protocol of each number."""

HUGE = 1e15  # squares of larger codes, summed, leave the range of float32
SHOWN, SHOWN_POINTS = 64, 2000  # the number of held-out images, or points, in a model's pictures


@dataclass
class Report:
    """The metrics of an evaluation by name, the protocol of each, pictures, and the codes of held-out images."""

    metrics: Metrics = field(default_factory=dict)
    protocols: Protocols = field(default_factory=dict)
    pictures: dict[str, Picture] = field(default_factory=dict)
    codes: Codes | None = None

    def add(self, numbers: Numbers) -> None:
        """Add numbers; the number of an existing name is kept."""
        metrics, protocols = numbers
        new = [name for name in metrics if name not in self.metrics]
        self.metrics |= {name: metrics[name] for name in new}
        self.protocols |= {name: protocols[name] for name in new}


@dataclass
class Evaluator:
    """Evaluates models by the protocol `name`, against the images of `data`.

    `note`: a line that says which features were chosen, and why. `of_encoder`: measures for models that both encode
    and sample. `of_sampler`: for all models that sample. `likelihood`: the test likelihood, for models that have
    densities. `projection`: the projection of codes for their picture; None: no picture. `held_out`: what measures
    the model's own metrics.
    """

    name: str
    note: str
    data: ImageDataModule
    sample_evaluator: SampleEvaluator | PointEvaluator | TableEvaluator
    held_out: HeldOut
    of_encoder: tuple[Measure, ...] = ()
    of_sampler: tuple[Measure, ...] = ()
    likelihood: LikelihoodEvaluator | None = None
    projection: str | None = None

    @torch.no_grad()
    def __call__(self, model: GenerativeModel, **context: Any) -> Report:
        """Evaluate a model: its own metrics, its samples, its reconstructions and its codes.

        The likelihood is left out, because it takes too long during training. Every process must call this.

        Args:
            model: in evaluation mode, on the evaluator's device.
            context: added to the protocol of each number, such as `ema`, `checkpoint` and `step`.
        """
        context = {"evaluation": self.name, "batch_norm": "running statistics", "versions": versions(), **context}
        self.check(model)
        with progress(None, f"evaluation: {len(self.data.test):,} held-out {self.data.unit}"):
            report = Report(codes=self.held_out.codes(model))
            report.add(self.held_out(model, context, report.codes))
        if not model.can_sample:
            return report
        report.add(self.sample_evaluator(model.sample, **context))
        report.pictures |= self.sample_evaluator.pictures()
        if isinstance(self.sample_evaluator, SampleEvaluator):
            with progress(None, "evaluation: reconstructions and codes"):
                for measure in (*self.of_sampler, *(self.of_encoder if model.can_encode else ())):
                    report.add(measure(model, self.data, self.sample_evaluator, context))
        return report

    @torch.no_grad()
    def check(self, model: GenerativeModel) -> None:
        """Raise NotFinite if the codes of the first held-out images are not finite, or are huge.

        Raises:
            UserError: the data are rows of another table than the model was trained on.
        """
        model.check_table(self.data)
        if not model.can_encode:
            return
        codes = model.encode(*self._first(model))
        if not (codes.abs() < HUGE).all():  # true for NaN, too
            raise NotFinite(worded("the code of a held-out image", model.unit))

    def _first(self, model: GenerativeModel) -> Batch:
        limit = SHOWN_POINTS if is_vector(model.image_shape) else SHOWN
        return next(in_precision(model, self.data.test_batches(model.device, limit, limit)))

    def measure_likelihood(self, model: GenerativeModel, **context: Any) -> Numbers:
        """The test likelihood of a model in evaluation mode, if it has one and the protocol asks for it."""
        return ({}, {}) if self.likelihood is None else self.likelihood(model, self.data, **context)

    @torch.no_grad()
    def draw(self, model: GenerativeModel, codes: Codes | None = None) -> dict[str, Picture]:
        """Pictures of a model in evaluation mode: its own, and those of its codes if it has an encoder.

        `codes`: of the held-out images, if a report of the same model has them already.
        """
        batch = self._first(model)
        model.class_names = self.data.test.classes
        pictures = model.pictures(batch.images, batch.labels)
        if model.can_encode and self.projection is not None:
            codes = codes or codes_of(model, self.held_out.batches(model))
            pictures |= latent_pictures(model, codes, self.data.test.classes, self.projection)
        return pictures

    def distance_name(self) -> str:
        """The metric that compares samples with real data.

        `eval/fid_classifier` or that of another extractor; `eval/energy_distance` of points and rows of a table.

        Raises:
            UserError: the Frechet distance is not among the metrics.
        """
        if isinstance(self.sample_evaluator, SampleEvaluator) and "fid" not in self.sample_evaluator.metrics:
            raise UserError(
                "checkpoint.monitor=fid needs fid in evaluation.metrics: add it, or set another checkpoint.monitor."
            )
        return self.sample_evaluator.distance_name
