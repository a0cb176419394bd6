"""Evaluation of generative models: plain PyTorch, without Lightning and without Hydra."""

from lightning_gen.evaluation.classifier import (
    Classifier,
    cached_classifier,
    packaged_classifier,
    train_classifier,
)
from lightning_gen.evaluation.evaluate import SampleEvaluator
from lightning_gen.evaluation.extractors import build_extractor
from lightning_gen.evaluation.feature_pass import Sampler
from lightning_gen.evaluation.features import FeatureExtractor
from lightning_gen.evaluation.frechet import Moments, frechet_distance
from lightning_gen.evaluation.reconstruction import evaluate_reconstruction
from lightning_gen.evaluation.set_metrics import METRICS

__all__ = [
    "METRICS",
    "Classifier",
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
