"""Ends a trial of a search early if its evaluations are worse than those of other trials."""

import math

from optuna.trial import Trial
from pytorch_lightning import Callback, LightningModule, Trainer

from lightning_gen.runs.run import Run
from lightning_gen.search.study import open_trial, should_prune
from lightning_gen.training.callbacks.evaluation import Evaluation


class Pruning(Callback):
    """Reports each evaluation to the study of the search, and stops training if its pruner says so.

    Args:
        run: the run of the trial.
        evaluation: has the metrics.
        metric: the name of the metric that the search optimizes.
    """

    def __init__(self, run: Run, evaluation: Evaluation, metric: str) -> None:
        self.evaluation, self.metric = evaluation, metric
        self.pruned = False
        self._run = run
        self._trial: Trial | None = None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        value = self.evaluation.metrics.get(self.metric, math.nan)
        step = trainer.global_step
        if step == 0 or step >= trainer.max_steps or not math.isfinite(value):
            return
        prune = trainer.is_global_zero and self._should_prune(value, step)
        # The processes of a run decide together.
        if trainer.strategy.reduce_boolean_decision(prune, all=False):
            self.pruned = trainer.should_stop = self.evaluation.skip_likelihood = True

    def _should_prune(self, value: float, step: int) -> bool:
        if self._trial is None:
            self._trial = open_trial(self._run)
        return self._trial is not None and should_prune(self._trial, value, step)
