"""Metrics of generative models in plain PyTorch: no Lightning, no Hydra."""

from lightning_gen.metrics.classifier import (
    FeatureClassifier,
    cached_classifier,
    packaged_classifier,
    train_classifier,
)
from lightning_gen.metrics.extractors import build_extractor
from lightning_gen.metrics.feature_pass import Sampler
from lightning_gen.metrics.features import FeatureExtractor
from lightning_gen.metrics.frechet import Moments, frechet_distance
from lightning_gen.metrics.reconstruction import evaluate_reconstruction
from lightning_gen.metrics.sample_evaluator import SampleEvaluator
from lightning_gen.metrics.set_metrics import METRICS

__all__ = [
    "METRICS",
    "FeatureClassifier",
    "FeatureExtractor",
    "Moments",
    "SampleEvaluator",
    "Sampler",
    "build_extractor",
    "cached_classifier",
    "evaluate_reconstruction",
    "frechet_distance",
    "packaged_classifier",
    "train_classifier",
]
