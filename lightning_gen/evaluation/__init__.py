"""Evaluation of generative models: plain PyTorch, without Lightning and without Hydra."""

from lightning_gen.evaluation.classifier import (
    Classifier,
    cached_classifier,
    packaged_classifier,
    train_classifier,
)
from lightning_gen.evaluation.evaluate import SampleEvaluator
from lightning_gen.evaluation.feature_pass import Sampler
from lightning_gen.evaluation.features import FeatureExtractor
from lightning_gen.evaluation.frechet import Moments, frechet_distance

__all__ = [
    "Classifier",
    "FeatureExtractor",
    "Moments",
    "SampleEvaluator",
    "Sampler",
    "cached_classifier",
    "frechet_distance",
    "packaged_classifier",
    "train_classifier",
]
