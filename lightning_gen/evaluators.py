"""From the evaluation config to an evaluator: which features, which real images, how many samples."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from lightning_gen.data.module import ImageDataModule
from lightning_gen.evaluation.evaluate import SampleEvaluator
from lightning_gen.evaluation.extractors import build_extractor


def build_evaluator(config: DictConfig, data: ImageDataModule, device: torch.device) -> SampleEvaluator:
    """Samples against the held-out images, the training images as the floor."""
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


def distance_name(evaluator: SampleEvaluator) -> str:
    """The Frechet distance of this evaluator: `eval/fid_classifier`, say."""
    return f"eval/{evaluator.extractor.metric_name('fid')}"
