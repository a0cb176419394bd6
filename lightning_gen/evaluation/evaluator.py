"""From the evaluation config to what measures a model: which features, which real images, which metrics."""

from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from lightning_gen.data.loader import in_order
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError, did_you_mean
from lightning_gen.evaluation.likelihood import LikelihoodEvaluator, build_likelihood
from lightning_gen.evaluation.rae_distances import four_distances
from lightning_gen.metrics.disentanglement import disentanglement
from lightning_gen.metrics.extractors import build_extractor, default_kind
from lightning_gen.metrics.feature_pass import seeded_subset
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.points import PointEvaluator
from lightning_gen.metrics.reconstruction import Score, build_lpips, evaluate_reconstruction
from lightning_gen.metrics.sample_evaluator import SampleEvaluator, versions
from lightning_gen.metrics.set_metrics import METRICS
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.use import codes_of, in_precision
from lightning_gen.randomness import Stream, mix

Metrics = dict[str, float]
Protocols = dict[str, dict[str, Any]]

OF_ENCODERS = ("reconstruction", "lpips", "disentanglement", "rae")  # models without an encoder go without


@dataclass
class Evaluator:
    """All that is measured of a model by one protocol.

    `note`: which features were picked, and why. `of_encoder`: the metrics that need an encoder.
    """

    name: str
    sample_evaluator: SampleEvaluator | PointEvaluator
    of_encoder: tuple[str, ...]
    lpips: Score | None
    note: str
    likelihood: LikelihoodEvaluator | None = None  # of a model with densities; once, at the end

    def __call__(self, model: GenerativeModel, data: ImageDataModule, **context: Any) -> tuple[Metrics, Protocols]:
        """Measure a model in evaluation mode; `context` goes into the protocol of each number."""
        context = {"evaluation": self.name, **context}
        metrics, protocols = self.sample_evaluator(model.sample, **context) if model.can_sample else ({}, {})
        if not (model.can_encode and model.can_sample and isinstance(self.sample_evaluator, SampleEvaluator)):
            return metrics, protocols
        context["versions"] = versions()
        for measure in (self._reconstruction, self._disentanglement):
            more, how = measure(model, data, context)
            metrics, protocols = more | metrics, how | protocols
        if "rae" in self.of_encoder:
            more, how = four_distances(model, data, self.sample_evaluator, context)
            metrics, protocols = metrics | more, protocols | how
        return metrics, protocols

    def _reconstruction(
        self, model: GenerativeModel, data: ImageDataModule, context: dict[str, Any]
    ) -> tuple[Metrics, Protocols]:
        """Of as many held-out images as there are samples, so that the Frechet distances have equal n."""
        if not {"reconstruction", "lpips"} & set(self.of_encoder):
            return {}, {}
        assert isinstance(self.sample_evaluator, SampleEvaluator)
        images, seed = data.test.images, self.sample_evaluator.seed
        chosen = (
            seeded_subset(len(images), self.sample_evaluator.num_samples, mix(seed, Stream.RECONSTRUCTION))
            .sort()
            .values
        )
        return evaluate_reconstruction(
            lambda batch, labels=None: model.reconstruct(batch.to(model.dtype), labels),
            images[chosen],
            self.sample_evaluator.extractor,
            labels=None if data.test.labels is None else data.test.labels[chosen],
            lpips=self.lpips,
            seed=seed,
            device=self.sample_evaluator.device,
            split="test",
            **context,
        )

    def _disentanglement(
        self, model: GenerativeModel, data: ImageDataModule, context: dict[str, Any]
    ) -> tuple[Metrics, Protocols]:
        """Over both splits: the scores describe the code, and need every combination of the factors."""
        if "disentanglement" not in self.of_encoder:
            return {}, {}
        parts = (data.train, data.test)
        factors = torch.cat([part.factors for part in parts if part.factors is not None])
        batches = chain.from_iterable(in_order(part, 500, model.device) for part in parts)
        codes, _ = codes_of(model, in_precision(model, batches))
        found = disentanglement(codes, factors, data.train.categorical, seed=self.sample_evaluator.seed)
        shared = {
            "images": "codes",
            "n_real": len(codes),
            "split": "train+test",
            "seed": self.sample_evaluator.seed,
            **context,
        }
        return (
            {f"eval/{name}": value for name, value in found.items()},
            {f"eval/{name}": {"metric": name, **shared} for name in found},
        )


def build_evaluator(config: DictConfig, data: ImageDataModule, device: torch.device) -> Evaluator:
    """The evaluator of `config.evaluation`.

    Raises:
        UserError: a metric or features that cannot be had here, with the override to change.
    """
    options = config.evaluation
    if data.train.images.is_floating_point():  # points of the plane: their distances need no features
        return Evaluator(
            options.name,
            _point_evaluator(options, data),
            (),
            None,
            "evaluation of points, without features",
            build_likelihood(options),
        )
    own, of_encoder = _chosen_metrics(options, data)
    if options.split not in ("train", "test"):
        raise UserError(f"evaluation.split={options.split}: use test or train.")
    cache_dir = Path(options.cache_dir).expanduser()
    extractor, note = _extractor(options, data, cache_dir)
    sides = (data.test, data.train) if options.split == "test" else (data.train, data.test)
    if sides[0].labels is None or not hasattr(extractor, "logits_from_features"):
        own = [name for name in own if name != "modes"]  # a default, for where classes are known
    sample_evaluator = SampleEvaluator(
        extractor,
        sides[0].images,
        sides[1].images,
        num_samples=options.num_samples,
        num_reference=options.num_reference,
        metrics=own,
        reference_labels=sides[0].labels,
        other_labels=sides[1].labels,
        seed=options.seed,
        device=device,
        cache_dir=cache_dir,
        split=options.split,
    )
    lpips = build_lpips() if "lpips" in of_encoder else None
    return Evaluator(options.name, sample_evaluator, of_encoder, lpips, note, build_likelihood(options))


def _chosen_metrics(options: DictConfig, data: ImageDataModule) -> tuple[list[str], tuple[str, ...]]:
    """The metrics of samples, and those of encoders."""
    known = [*METRICS, *OF_ENCODERS]
    if not OmegaConf.is_list(options.metrics):
        raise UserError(f"evaluation.metrics={options.metrics} must be a list: evaluation.metrics=[fid,kid].")
    for name in options.metrics:
        if name not in known:
            raise UserError(
                f"evaluation.metrics: no metric {name!r}, only {', '.join(known)}.{did_you_mean(name, known)}"
            )
    of_encoder = tuple(name for name in options.metrics if name in OF_ENCODERS)
    if "disentanglement" in of_encoder and data.train.factors is None:
        raise UserError(
            f"evaluation.metrics: disentanglement needs images with known factors, which dataset={data.dataset} "
            f"lacks: use dataset=sprites."
        )
    return [name for name in options.metrics if name in METRICS], of_encoder


def _extractor(options: DictConfig, data: ImageDataModule, cache_dir: Path) -> tuple[FeatureExtractor, str]:
    chosen, train = options.extractor, data.train
    if not OmegaConf.is_dict(chosen):
        raise UserError(f"evaluation.extractor={chosen}: features are chosen by evaluation/extractor={chosen}.")
    asked = {str(key): value for key, value in chosen.items() if key != "name"}
    kind, reason = chosen.name, "asked for"
    if kind == "auto":
        kind, reason = default_kind(data.dataset, train.images, train.labels)
    extractor = build_extractor(
        kind, dataset=data.dataset, images=train.images, labels=train.labels, cache_dir=cache_dir, **asked
    )
    return extractor, f"evaluation by the features of {extractor.name} ({reason})"


def _point_evaluator(options: DictConfig, data: ImageDataModule) -> PointEvaluator:
    modes = data.train.modes
    return PointEvaluator(
        data.test.images,
        data.train.images,
        None if modes is None else (modes.centres, modes.std),
        num_samples=options.num_samples,
        seed=options.seed,
    )


def distance_name(evaluator: Evaluator) -> str:
    """The distance of this evaluator: `eval/fid_classifier`, say, or for points `eval/energy_distance`.

    Raises:
        UserError: the Frechet distance is not among its metrics.
    """
    if isinstance(evaluator.sample_evaluator, PointEvaluator):
        return evaluator.sample_evaluator.metric
    if "fid" not in evaluator.sample_evaluator.metrics:
        raise UserError("checkpoint.monitor=fid needs fid among evaluation.metrics: add it, or watch another one.")
    return f"eval/{evaluator.sample_evaluator.extractor.metric_name('fid')}"
