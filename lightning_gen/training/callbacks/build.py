"""Builds the callbacks of a run; each is given the other callbacks that it needs."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback
from pytorch_lightning.callbacks import EarlyStopping as LightningEarlyStopping
from pytorch_lightning.callbacks import LearningRateMonitor

from lightning_gen.config.build import build
from lightning_gen.errors import UserError
from lightning_gen.evaluation.evaluator import Evaluator
from lightning_gen.interruption import StopRequest
from lightning_gen.models.base import GenerativeModel
from lightning_gen.objectives.schedules import parsed
from lightning_gen.runs.directions import mode_of
from lightning_gen.runs.run import Run
from lightning_gen.training.callbacks.checkpoint import SaveCheckpoints
from lightning_gen.training.callbacks.early_stopping import EarlyStopping
from lightning_gen.training.callbacks.ema import EMA
from lightning_gen.training.callbacks.evaluation import Evaluation
from lightning_gen.training.callbacks.histograms import Histograms
from lightning_gen.training.callbacks.interruption import Interruption
from lightning_gen.training.callbacks.progress import StepProgress
from lightning_gen.training.callbacks.random_state import RandomState
from lightning_gen.training.callbacks.threads import Threads
from lightning_gen.training.callbacks.training_log import TrainingLog
from lightning_gen.training.devices import accelerator_of

if TYPE_CHECKING:
    from lightning_gen.training.callbacks.pruning import Pruning

# Callbacks of Lightning that do not work here, and the key to use instead.
INSTEAD = {
    "Checkpoint": "checkpoint.every_n_steps and checkpoint.monitor",
    "StochasticWeightAveraging": "ema=average",
    "WeightAveraging": "ema=average",
    "GradientAccumulationScheduler": "trainer.accumulate_grad_batches",
    "BatchSizeFinder": "dataset.batch_size",
    "LearningRateFinder": "model.optimizer.lr",
    "ProgressBar": "trainer.enable_progress_bar",
}


@dataclass
class Callbacks:
    """The callbacks of a run. `ema` and `progress` may be None; `others` are those of the config key `callbacks`."""

    interruption: Interruption
    random_state: RandomState
    ema: EMA | None
    log: TrainingLog
    evaluation: Evaluation
    others: list[Callback]
    progress: StepProgress | None
    saver: SaveCheckpoints
    threads: Threads | None
    histograms: Histograms | None
    pruning: "Pruning | None"  # acts on evaluations, not on steps

    def early_stopping(self, max_steps: int) -> EarlyStopping | None:
        """What has ended training before its last step, if anything has."""
        for callback in self.others:
            if isinstance(callback, EarlyStopping) and callback.stopped_at not in (None, max_steps):
                return callback
        return None

    def in_order(self) -> list[Callback]:
        """All callbacks in the order in which they act after a step: average, log, evaluate, show, save."""
        first = [self.interruption, self.random_state, self.threads]
        acting = [self.ema, self.log, self.histograms, self.evaluation, *self.others, self.progress, self.saver]
        return [callback for callback in (*first, *acting) if callback is not None]


def build_callbacks(run: Run, model: GenerativeModel, evaluator: Evaluator, stop: StopRequest) -> Callbacks:
    """The callbacks of a run's config; `stop` ends its training and evaluation.

    Raises:
        UserError: a key of `checkpoint`, `ema` or `callbacks` is wrong.
    """
    config = run.config
    half_life = parsed(OmegaConf.to_container(config.ema, resolve=True)["half_life"])  # type: ignore[call-overload,index]
    ema = EMA(half_life, config.ema.buffers, config.ema.ramp) if half_life else None
    log, interruption = TrainingLog(run.path), Interruption(stop)
    saver = SaveCheckpoints(
        run.path / "checkpoints",
        config.checkpoint.every_n_steps,
        config.checkpoint.every_n_seconds,
        config.checkpoint.keep,
        *monitored(run, model, evaluator),
        interruption=interruption,
        check=log.check_finite,
        ema=ema,
    )
    evaluation = Evaluation(evaluator, config.evaluation.every_n_steps, run.path, saver, ema)
    progress = StepProgress(lambda: log.latest | evaluation.metrics) if config.trainer.enable_progress_bar else None
    default = saver.monitor, saver.mode
    others = [
        _checked(name, _built(name, node, default, run, model, evaluator)) for name, node in config.callbacks.items()
    ]
    on_cpu = accelerator_of(config.trainer) == "cpu"
    threads = Threads() if config.trainer.get("threads") == "auto" and on_cpu else None
    every = OmegaConf.select(config, "logger.wandb.extras.histograms")
    histograms = Histograms(every) if every else None
    pruning = _pruning(run, evaluation, saver.monitor)
    evaluation.listeners = [*others, *([pruning] if pruning else [])]
    if config.checkpoint.monitor is not None:
        evaluation.watched["checkpoint.monitor"] = saver.monitor
    for name, callback in zip(config.callbacks, others, strict=True):
        if isinstance(callback, LightningEarlyStopping) and config.callbacks[name].get("monitor") is not None:
            evaluation.watched[f"callbacks.{name}.monitor"] = callback.monitor
    return Callbacks(
        interruption,
        RandomState(config.seed, threads_vary=config.trainer.get("threads") == "auto"),
        ema,
        log,
        evaluation,
        others,
        progress,
        saver,
        threads,
        histograms,
        pruning,
    )


def _pruning(run: Run, evaluation: Evaluation, metric: str) -> "Pruning | None":
    """What ends this run early, if it is a trial of a search with a pruner that compares evaluations."""
    sweep = run.config.get("sweep")
    if not sweep or sweep.trial is None or sweep.pruner == "none" or sweep.seeds > 1:
        return None
    from lightning_gen.training.callbacks.pruning import Pruning  # imports Optuna, which no other run needs

    return Pruning(run, evaluation, metric)


def _built(
    name: str, node: DictConfig, default: tuple[str, str], run: Run, model: GenerativeModel, evaluator: Evaluator
) -> Callback:
    """A callback of the config; early stopping watches `default`, that of best.ckpt, unless it names a metric."""
    if node.get("_target_") != f"{EarlyStopping.__module__}.{EarlyStopping.__name__}":
        return build(node)
    metric, mode = default if node.monitor is None else monitored(run, model, evaluator, f"callbacks.{name}")
    return build(node, monitor=metric, mode=node.mode or mode)


def _checked(name: str, callback: Callback) -> Callback:
    """A callback of the user, prepared to act after an evaluation instead of after an epoch.

    Raises:
        UserError: the callback does not work here, because a key of this package does the same.
    """
    for kind in type(callback).__mro__:
        if kind.__name__ in INSTEAD:
            raise UserError(
                f"callbacks.{name}: {type(callback).__name__} does not work here: use {INSTEAD[kind.__name__]}."
            )
    if isinstance(callback, LightningEarlyStopping):
        callback._check_on_train_epoch_end = False
    if isinstance(callback, LearningRateMonitor):  # a step sets its learning rates after the callbacks have begun
        log = callback.on_train_batch_start
        callback.on_train_batch_end = lambda trainer, *_: log(trainer)  # type: ignore[method-assign]
        callback.on_train_batch_start = lambda *_: None  # type: ignore[method-assign]
    return callback


def monitored(run: Run, model: GenerativeModel, evaluator: Evaluator, group: str = "checkpoint") -> tuple[str, str]:
    """The metric that decides best.ckpt, and `min` or `max`: those of `checkpoint`, or else the model's own.

    `group`: the keys `monitor` and `mode` of another group.

    Raises:
        UserError: `mode` is null and the better direction of `monitor` is not known.
    """
    node = OmegaConf.select(run.config, group)
    metric, mode = node.monitor, node.mode
    if metric in (None, model.monitor[0]):
        metric, mode = model.monitor[0], mode or model.monitor[1]
    if metric == "fid":
        metric, mode = evaluator.distance_name(), mode or "min"
    if mode is None:
        named = f"{group}.monitor={metric}"
        mode = "min" if metric == "eval/loss" else mode_of(metric, named, group + ".mode={}")
    return metric, mode
