"""Metrics and pictures every N steps and at the end, without any effect on training."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gen.data.words import IMAGES, worded
from lightning_gen.errors import NotFinite, NotMeasured, did_you_mean, one_line
from lightning_gen.evaluation.evaluator import Evaluator, Report
from lightning_gen.evaluation.headings import heading
from lightning_gen.metrics.memorization import nearest_in_pixels
from lightning_gen.metrics.overfitting import Overfitting, copying
from lightning_gen.metrics.protocol import Metrics, Protocols
from lightning_gen.models.base import GenerativeModel
from lightning_gen.pictures import Picture, animate, save_picture, to_float, to_picture
from lightning_gen.progress import progress
from lightning_gen.runs.run import check_exists
from lightning_gen.training.callbacks.checkpoint import SaveCheckpoints
from lightning_gen.training.callbacks.ema import EMA
from lightning_gen.training.callbacks.inference import evaluation_mode, fit_density
from lightning_gen.training.callbacks.steps import StepCallback
from lightning_gen.training.divergence import Diverged
from lightning_gen.training.loggers.send import log_picture, record

SETTLED, SETTLED_IMAGES = 10, 20_000  # no warnings in the first tenth of training, nor before this many images
ENOUGH_SAMPLES = 200  # with fewer samples, a collapse cannot be distinguished from chance
IN_TABLE = 16  # samples in the table of nearest training images
TABLE = ["sample", "nearest training image", "distance of pixels"]

T = TypeVar("T")


class Evaluation(StepCallback):
    """Evaluates before the first step, every `every_n_steps` and at the end, and saves pictures.

    Metrics go to every logger, to `saver`, and with their protocols to `self.metrics` and `self.protocol`.

    Args:
        evaluator: computes the metrics and draws the pictures.
        every_n_steps: the interval between evaluations.
        run_dir: the run directory, with a folder for each kind of picture, such as samples/ and reconstructions/.
        saver: writes best.ckpt. Its interruption ends an evaluation immediately.
        ema: the average of the weights; if there is one, it is evaluated in place of the weights.
    """

    def __init__(
        self, evaluator: Evaluator, every_n_steps: int, run_dir: Path, saver: SaveCheckpoints, ema: EMA | None = None
    ) -> None:
        self.evaluator, self.every_n_steps, self.run_dir = evaluator, every_n_steps, run_dir
        self.saver, self.ema = saver, ema
        self.metrics: Metrics = {}
        self.protocol: Protocols = {}
        self.watched: dict[str, str] = {}  # metrics that config keys name, checked in the first evaluation
        self.listeners: list[Callback] = []  # what Lightning calls after a validation
        self.ended = False  # whether the evaluation at the end has begun
        self.skip_likelihood = False  # at the end
        self.warnings: list[str] = []  # of the last evaluation
        self.overfitting = Overfitting()
        self._done_at: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.metrics:
            self._check_watched()
        self._run_if_due(trainer, pl_module)  # before the first step, or after a stop in this evaluation

    def on_step_end(self, trainer: Trainer, model: GenerativeModel) -> None:
        self._run_if_due(trainer, model)

    def _run_if_due(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.global_step % self.every_n_steps == 0:
            self.run(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.ended = True
        if self.saver.interruption.asked:
            return
        self.saver.save_last(trainer, pl_module)  # if the process is killed during the evaluation, no step is lost
        self.run(trainer, pl_module)
        if trainer.global_step > 0 and not self.skip_likelihood:
            self.measure_likelihood(trainer, pl_module)
        self._log_nearest(trainer, pl_module)
        self.saver.save_last(trainer, pl_module, again=True)
        if trainer.is_global_zero:
            self._animate()

    def _animate(self) -> None:
        """Write samples/progress.webp. A trained run never fails by this."""
        try:
            animate(self.run_dir / "samples")
        except Exception as error:  # a full disk, a damaged picture, a Pillow without WebP
            print(f"note: no samples/progress.webp: {one_line(error)}", file=sys.stderr)

    def measure_likelihood(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add the test likelihood to the metrics of this step; it is too slow for every evaluation."""
        assert isinstance(pl_module, GenerativeModel)
        if "eval/nll" in self.metrics:
            return
        numbers = self._measured(trainer, pl_module, self.evaluator.measure_likelihood)
        if numbers and numbers[0]:
            record(trainer, numbers[0], pl_module.images_seen)
            self.metrics, self.protocol = self.metrics | numbers[0], self.protocol | numbers[1]

    def _log_nearest(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Send samples, each with its nearest training image, to the loggers that can show a table."""
        assert isinstance(pl_module, GenerativeModel)
        loggers = [logger for logger in trainer.loggers if hasattr(logger, "log_table")]
        train = self.evaluator.data.train.images
        if pl_module.private is not None:  # whose training images are not published
            return
        if not (loggers and trainer.is_global_zero and pl_module.can_sample and train.dtype == torch.uint8):
            return
        with evaluation_mode(pl_module, self.ema):
            samples = pl_module.sample(IN_TABLE, pl_module.fixed_generator()).cpu()
        distances, nearest = nearest_in_pixels(samples, train)
        shown = zip(samples, train[nearest].cpu(), distances.tolist(), strict=True)
        rows = [[to_picture(sample), to_picture(to_float(image)), distance] for sample, image, distance in shown]
        for logger in loggers:
            logger.log_table("nearest_training_images", TABLE, rows, trainer.global_step)

    def run(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the model, at most once per step. If the run is asked to stop meanwhile, nothing is recorded."""
        assert isinstance(pl_module, GenerativeModel)
        if self._done_at == trainer.global_step:
            return
        self.saver.check(trainer, pl_module)
        report = self._measured(trainer, pl_module, partial(self._report, trainer))
        if report is None:
            return
        self.metrics, self.protocol = report.metrics, report.protocols
        if trainer.is_global_zero:
            check_exists(self.run_dir)
            self._save_pictures(trainer, pl_module, report.pictures)
        record(trainer, self.metrics, pl_module.images_seen)
        self._warn(trainer, pl_module)
        self._done_at = trainer.global_step
        if trainer.global_step == 0:
            self._check_watched()
        for listener in self.listeners:  # before best.ckpt, which has their state
            listener.on_validation_end(trainer, pl_module)
        self.saver.consider_best(trainer, pl_module, self.metrics)

    def _warn(self, trainer: Trainer, model: GenerativeModel) -> None:
        """Print what is wrong with the model: overfitting once, anything else after each evaluation that shows it."""
        complaints = model.complaints(self.metrics) + copying(self.metrics) if self._settled(trainer, model) else []
        new = self.overfitting.update(trainer.global_step, self.metrics, model.unit == IMAGES)
        for complaint in [*complaints, *([new] if new else [])]:
            if trainer.is_global_zero:
                print(f"warning: step {trainer.global_step}: {worded(complaint, model.unit)}", file=sys.stderr)
        told = [*complaints, *([self.overfitting.told] if self.overfitting.told else [])]
        self.warnings = [worded(complaint, model.unit) for complaint in told]

    def _check_watched(self) -> None:
        """Raise NotMeasured if a config key names a metric that is not measured."""
        for key, metric in self.watched.items():
            if metric.startswith("eval/nll"):
                raise NotMeasured(f"{key}={metric} is measured only at the end of training: choose another metric.")
            if metric not in self.metrics:
                known = ", ".join(sorted(self.metrics))
                guess = did_you_mean(metric, self.metrics)
                raise NotMeasured(f"{key}={metric} is not measured in this run.{guess} Measured: {known}.")

    def _report(self, trainer: Trainer, model: GenerativeModel, **context: Any) -> Report:
        try:
            self.evaluator.check(model)
            with progress(None, "evaluation: fitting the density of the codes"):
                fit_density(trainer, model, self.ema)
            report = self.evaluator(model, **context)
        except NotFinite as error:
            raise Diverged(error.found, trainer.global_step, last=self.saver.last) from error
        if trainer.is_global_zero:
            with progress(None, "evaluation: drawing pictures"):
                report.pictures = self.evaluator.draw(model, report.codes) | report.pictures
        return report

    def _measured(self, trainer: Trainer, model: GenerativeModel, measure: Callable[..., T]) -> T | None:
        """The result of `measure`; None if the run was asked to stop, which ends the measurement immediately.

        With several processes it ends the run immediately, because each waits for the results of the others. So that
        no step is lost, last.ckpt is written before.
        """
        alone = trainer.world_size == 1
        if not alone:
            self.saver.save_last(trainer, model)
        model.follow_schedules()  # to the images of this step
        try:
            with evaluation_mode(model, self.ema) as averaged, self.saver.interruption.stop.at_once():
                # At the end of training, last.ckpt has the model that is measured; before, `step` identifies it.
                return measure(model, ema=averaged, checkpoint="last", step=trainer.global_step)
        except KeyboardInterrupt:
            if not alone:
                raise
            return None

    def _settled(self, trainer: Trainer, model: GenerativeModel) -> bool:
        """Whether there was enough training, and there are enough samples, to warn about a collapse."""
        far = 0 < trainer.max_steps <= SETTLED * trainer.global_step and model.images_seen >= SETTLED_IMAGES
        return far and self.evaluator.sample_evaluator.num_samples >= ENOUGH_SAMPLES

    def _save_pictures(self, trainer: Trainer, model: GenerativeModel, pictures: dict[str, Picture]) -> None:
        data = self.evaluator.data.dataset
        for name, made in pictures.items():
            picture = made.draw(heading(model, data, trainer.global_step, self.metrics, of=name))
            save_picture(picture, self.run_dir / name / f"step_{trainer.global_step:08d}.png")
            log_picture(trainer, name, picture)

    def state_dict(self) -> dict[str, Any]:
        plain = json.loads(json.dumps({"metrics": self.metrics, "protocol": self.protocol}, default=float))
        # No classes, so that weights_only=True reads it
        return {**plain, "done_at": self._done_at, "overfitting": asdict(self.overfitting)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.metrics, self.protocol = state_dict["metrics"], state_dict["protocol"]
        self._done_at = state_dict["done_at"]
        self.overfitting = Overfitting(**state_dict.get("overfitting", {}))  # absent from those of earlier versions
