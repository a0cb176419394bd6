"""From the evaluation config to an evaluator: which features, which real images, how many samples."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from lightning_gen.data.module import ImageDataModule
from lightning_gen.evaluation.evaluate import SampleEvaluator
from lightning_gen.evaluation.extractors import build_extractor
from lightning_gen.evaluation.mixtures import PointEvaluator


def build_evaluator(
    config: DictConfig, data: ImageDataModule, device: torch.device
) -> SampleEvaluator | PointEvaluator:
    """Samples against the held-out images, the training images as the floor."""
    if data.train.images.is_floating_point():  # points of the plane: their distances need no features
        mixture, options = data.train.modes, config.evaluation
        return PointEvaluator(
            data.test.images,
            data.train.images,
            None if mixture is None else (mixture.centres, mixture.std),
            num_samples=options.num_samples,
            seed=options.seed,
        )
    cache_dir = Path(config.evaluation.cache_dir).expanduser()
    train, test = data.train, data.test
    extractor = build_extractor(
        config.evaluation.extractor,
        dataset=data.dataset,
        images=train.images,
        labels=train.labels,
        weights=config.evaluation.weights,
        cache_dir=cache_dir,
    )
    return SampleEvaluator(
        extractor,
        test.images,
        train.images,
        num_samples=config.evaluation.num_samples,
        metrics=list(config.evaluation.metrics),
        seed=config.evaluation.seed,
        device=device,
        cache_dir=cache_dir,
        split="test",
    )


def distance_name(evaluator: SampleEvaluator | PointEvaluator) -> str:
    """The distance of this evaluator: `eval/fid_classifier`, say, or for points `eval/energy_distance`."""
    if isinstance(evaluator, PointEvaluator):
        return evaluator.metric
    return f"eval/{evaluator.extractor.metric_name('fid')}"
