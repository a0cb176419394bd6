"""From the evaluation config to an evaluator: which features, which real images, how many samples."""

from pathlib import Path

import torch
from omegaconf import DictConfig

from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.evaluation.classifier import cached_classifier, packaged_classifier
from lightning_gen.evaluation.evaluate import SampleEvaluator
from lightning_gen.evaluation.features import FeatureExtractor


def build_extractor(data: ImageDataModule, cache_dir: Path) -> FeatureExtractor:
    """The packaged classifier of the data set; for another labelled set, one that is trained once and kept."""
    packaged = packaged_classifier(data.dataset)
    if packaged is not None:
        return packaged
    if data.train.labels is None:
        raise UserError(f"dataset={data.dataset} has no labels, so there is no classifier to measure it with.")
    return cached_classifier(data.train.images, data.train.labels, name=data.dataset, cache_dir=cache_dir)


def build_evaluator(config: DictConfig, data: ImageDataModule, device: torch.device) -> SampleEvaluator:
    """Samples against the held-out images, the training images as the floor."""
    cache_dir = Path(config.evaluation.cache_dir).expanduser()
    return SampleEvaluator(
        build_extractor(data, cache_dir),
        data.test.images,
        data.train.images,
        num_samples=config.evaluation.num_samples,
        seed=config.evaluation.seed,
        device=device,
        cache_dir=cache_dir,
        split="test",
    )
