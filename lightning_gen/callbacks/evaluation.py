"""Metrics and pictures every N steps and at the end, without a trace in the training."""

import json
import sys
from collections import defaultdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from lightning_gen.callbacks.checkpoint import SaveCheckpoints
from lightning_gen.callbacks.inference import evaluation_mode, fit_latents, in_precision
from lightning_gen.data.loader import to_float
from lightning_gen.data.module import ImageDataModule
from lightning_gen.evaluation.evaluate import SampleEvaluator, versions
from lightning_gen.evaluation.probing import PCA, cluster_quality
from lightning_gen.evaluators import Evaluator, Metrics, Protocols
from lightning_gen.latent_pictures import check_projection, codes_of, latent_pictures
from lightning_gen.loggers import log_picture, record
from lightning_gen.models.base import GenerativeModel
from lightning_gen.pictures import grid, save_picture
from lightning_gen.randomness import StepNoise, mix

TEST_STREAM = 3
SETTLED, SETTLED_IMAGES = 10, 20_000  # no complaints in the first tenth of training, nor before so many images
ENOUGH_SAMPLES = 200  # by fewer, a collapse cannot be told from chance
PCA_PIXELS = 1024  # the covariance of larger images takes minutes to decompose


def test_metrics(model: GenerativeModel, data: ImageDataModule) -> Metrics:
    """The model's own metrics over all held-out images, as means over images, named `eval/...`.

    Every process computes them all: they are few, and so they need not agree on their names.
    """
    sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64))
    for index, batch in enumerate(in_precision(model, data.test_batches(model.device))):
        noise = StepNoise(mix(model.seed, TEST_STREAM))
        noise.start(index)
        for name, values in model.test_metrics(batch, noise).items():
            sums[name] = sums[name] + values.double().sum().cpu()
    return {f"eval/{name}": float(total) / len(data.test) for name, total in sums.items()}


def code_metrics(model: GenerativeModel, data: ImageDataModule) -> Metrics:
    """How clusters of the held-out images' codes agree with their classes, and what PCA of that width does."""
    if not (model.encodes and model.samples):
        return {}
    codes, labels = codes_of(model, in_precision(model, data.test_batches(model.device)))
    metrics: Metrics = {}
    if labels is not None:
        metrics |= cluster_quality(codes, labels, data.num_classes)
    if codes.shape[1] < data.test.images[0].numel() <= PCA_PIXELS:
        metrics["squared_error_pca"] = pca_error(data, codes.shape[1])
    return {f"eval/{name}": value for name, value in metrics.items()}


@lru_cache(maxsize=4)
def pca_error(data: ImageDataModule, width: int) -> float:
    """The squared error of principal component analysis of that width, fitted to the training images."""
    return PCA(data.train.images, width).squared_error(data.test.images)


def evaluate_model(
    model: GenerativeModel, data: ImageDataModule, evaluator: Evaluator, **context: Any
) -> tuple[Metrics, Protocols]:
    """All metrics of a model in evaluation mode, and the protocol of each."""
    context = {"batch_norm": "running statistics", **context}
    metrics, protocols = evaluator(model, data, **context)
    whole = model.held_out_metrics(lambda: in_precision(model, data.test_batches(model.device)))
    own = test_metrics(model, data) | {f"eval/{name}": value for name, value in whole.items()}
    own |= code_metrics(model, data)
    held_out = {"images": "held-out images", "n_real": len(data.test), "split": "test", **context}
    held_out |= {"evaluation": evaluator.name, "versions": versions()}
    for name in own:
        protocols[name] = {"metric": name.removeprefix("eval/"), **held_out}
    return {**own, **metrics, **own}, protocols


def neighbours(evaluator: Evaluator) -> dict[str, tuple[Tensor, int]]:
    """Ten samples, each followed by its nearest training images, four in a row; only with `memorization`."""
    if not isinstance(evaluator.samples, SampleEvaluator) or "memorization" not in evaluator.samples.metrics:
        return {}
    return {"neighbours": (to_float(evaluator.samples.neighbour_picture()), 4)}


class Evaluation(Callback):
    """Evaluates at the first step, every `every_n_steps` and at the end, and saves pictures beside.

    `run_dir` receives samples/, reconstructions/, interpolations/ and neighbours/, and latents/ where codes have a
    `projection`. The metrics go to every logger, to `self.metrics` with their `self.protocol`, and to the callback
    that keeps best.ckpt.
    """

    def __init__(
        self, evaluator: Evaluator, every_n_steps: int, run_dir: Path, projection: str | None = None
    ) -> None:
        check_projection(projection)
        self.projection = projection
        self.evaluator, self.every_n_steps, self.run_dir = evaluator, every_n_steps, run_dir
        self.metrics: Metrics = {}
        self.protocol: Protocols = {}
        self._done_at: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step == 0:
            self.run(trainer, pl_module)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step % self.every_n_steps == 0:
            self.run(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not any(isinstance(c, SaveCheckpoints) and c.interrupted for c in trainer.callbacks):  # type: ignore[attr-defined]
            self.run(trainer, pl_module)
            self.measure_likelihood(trainer, pl_module)

    def measure_likelihood(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the test likelihood, which is too slow for every evaluation, to the numbers of this step."""
        assert isinstance(pl_module, GenerativeModel)
        likelihood = self.evaluator.likelihood
        if likelihood is None or "eval/nll" in self.metrics:
            return
        with evaluation_mode(pl_module, trainer) as averaged:
            context = {"ema": averaged, "checkpoint": "last", "step": trainer.global_step}
            metrics, protocol = likelihood(pl_module, trainer.datamodule, **context)  # type: ignore[attr-defined]
        record(trainer, metrics, pl_module.images_seen)
        self.metrics, self.protocol = self.metrics | metrics, self.protocol | protocol

    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the model as it stands, once a step."""
        assert isinstance(pl_module, GenerativeModel)
        if self._done_at == trainer.global_step:
            return
        data: ImageDataModule = trainer.datamodule  # type: ignore[attr-defined]
        fit_latents(trainer, pl_module)
        with evaluation_mode(pl_module, trainer) as averaged:
            # Where training ends, last.ckpt holds this model; until then `step` says which it was.
            context = {"ema": averaged, "checkpoint": "last", "step": trainer.global_step}
            self.metrics, self.protocol = evaluate_model(pl_module, data, self.evaluator, **context)
            if trainer.is_global_zero:
                self._save_pictures(trainer, pl_module, data)
        record(trainer, self.metrics, pl_module.images_seen)
        if self._settled(trainer, pl_module):
            for complaint in pl_module.complaints(self.metrics):
                if trainer.is_global_zero:
                    print(f"warning: step {trainer.global_step}: {complaint}", file=sys.stderr)
        self._done_at = trainer.global_step
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, SaveCheckpoints):
                callback.consider_best(trainer, pl_module, self.metrics)

    def _settled(self, trainer: Trainer, model: GenerativeModel) -> bool:
        """Whether training and evaluation have gone far enough to judge by."""
        far = 0 < trainer.max_steps <= SETTLED * trainer.global_step and model.images_seen >= SETTLED_IMAGES
        return far and self.evaluator.samples.num_samples >= ENOUGH_SAMPLES

    def _save_pictures(self, trainer: Trainer, model: GenerativeModel, data: ImageDataModule) -> None:
        batch = next(in_precision(model, data.test_batches(model.device, limit=64)))
        pictures = model.pictures(batch.images, batch.labels) | neighbours(self.evaluator)
        if model.encodes and self.projection is not None:
            held_out = in_precision(model, data.test_batches(model.device))
            pictures |= latent_pictures(model, held_out, data.test.classes, self.projection)
        for name, made in pictures.items():
            picture = grid(*made) if isinstance(made, tuple) else made
            save_picture(picture, self.run_dir / name / f"step_{trainer.global_step:08d}.png")
            log_picture(trainer, name, picture)

    def state_dict(self) -> dict[str, Any]:
        plain = json.loads(json.dumps({"metrics": self.metrics, "protocol": self.protocol}, default=float))
        return {**plain, "done_at": self._done_at}  # no classes, so that weights_only=True reads it

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.metrics, self.protocol = state_dict["metrics"], state_dict["protocol"]
        self._done_at = state_dict["done_at"]
