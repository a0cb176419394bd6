"""Build the Lightning Trainer from the config, for a given model."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.loggers import Logger
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from lightning_gen.config.explain import lacks
from lightning_gen.errors import UserError
from lightning_gen.files import with_checksum, write_atomically
from lightning_gen.networks.batch_norm import synchronize
from lightning_gen.networks.compilation import compile_networks
from lightning_gen.training.callbacks.threads import hint_of_crowd, set_threads
from lightning_gen.training.devices import accelerator_of, device_count, device_of
from lightning_gen.training.half_precision import HALF_PRECISIONS, HalfLayers
from lightning_gen.training.one_device import OneDevice, steps_per_call

NEEDED = (  # keys of the group `trainer` that every config has
    "accumulate_grad_batches",
    "float32_matmul_precision",
    "gradient_clip_algorithm",
    "gradient_clip_val",
    "precision",
    "process_timeout",
    "sync_batchnorm",
)
PROFILERS: dict[str, Any] = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}

# Strategies that take `trainer.process_timeout`, with their other arguments.
STRATEGIES: dict[str, dict[str, Any]] = {
    "ddp": {},
    "ddp_find_unused_parameters_true": {"find_unused_parameters": True},
}


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes checkpoints with a checksum, and atomically, so that a kill or a full disk never leaves a partial one.

    Lightning writes to the system's temporary folder and moves the file from there, which is a copy if that is on
    another file system.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        import io

        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(Path(path), with_checksum(buffer.getvalue()))


def with_timeout(name: str, seconds: float) -> str | DDPStrategy:
    """The strategy of this name; processes of those in `STRATEGIES` wait so long for each other."""
    if name not in STRATEGIES:
        return name
    return DDPStrategy(timeout=timedelta(seconds=seconds), **STRATEGIES[name])


def strategy_of(trainer: DictConfig, model: Any, processes: int) -> str:
    """The name of the strategy; `auto` is resolved for this model.

    Plain ddp expects a gradient for every parameter. Models with several players average the gradients of each player
    themselves; layer-wise pretraining needs the search for parameters without a gradient.

    Raises:
        UserError: a strategy that divides the weights.
    """
    if str(trainer.strategy).startswith(("fsdp", "deepspeed", "model_parallel")):
        raise UserError(
            f"trainer.strategy={trainer.strategy} divides the weights among devices, but averages of weights, "
            "checkpoints and models with two players need them whole: use trainer.strategy=auto."
        )
    if trainer.strategy != "auto" or processes == 1:
        return trainer.strategy
    return "ddp_find_unused_parameters_true" if model.leaves_parameters_out else "ddp"


def check_graphs(trainer: DictConfig, accelerator: str, most: int | None) -> None:
    """Check that `trainer.cuda_graphs=true` is possible; `most` is the result of `steps_per_call`.

    Raises:
        UserError: it is not one NVIDIA GPU, something acts on every step, or gradients are scaled.
    """
    if accelerator != "cuda":
        raise UserError(f"trainer.cuda_graphs=true needs an NVIDIA GPU, and this is {accelerator}: set it to false.")
    if most == 1:
        raise UserError(
            "trainer.cuda_graphs=true needs one device, no callbacks or models of your own, no trainer.profiler and "
            "trainer.steps_per_call=auto: set it to false."
        )
    if str(trainer.precision) in ("16", "16-mixed"):
        raise UserError(
            "trainer.cuda_graphs=true does not work with float16, whose gradients are scaled: use "
            "trainer.precision=bf16-mixed."
        )


def make_trainer(
    config: DictConfig, model: Any, run_dir: Path, callbacks: list[Callback], loggers: list[Logger]
) -> Trainer:
    """A Trainer that counts steps, not epochs, and leaves logging, evaluation and checkpoints to this package.

    Raises:
        UserError: Lightning refuses a value of `trainer`, or the model cannot clip or accumulate gradients.
    """
    options = dict(OmegaConf.to_container(config.trainer, resolve=True))  # type: ignore[arg-type]
    for key in NEEDED:
        if key not in options:
            raise UserError(lacks(f"trainer.{key}"))
    accelerator, devices = accelerator_of(config.trainer), device_count(config.trainer)
    processes = devices * config.trainer.num_nodes
    options["accelerator"] = accelerator
    if not OmegaConf.is_list(config.trainer.devices):
        options["devices"] = devices
    _set_up_torch(options)
    _lay_out(model, options, processes)
    one_device = _choose_strategy(config, model, options, processes)
    if options.get("profiler") in PROFILERS:  # by its name alone it would report to a log that nobody sees
        options["profiler"] = PROFILERS[options["profiler"]](dirpath=run_dir, filename="profile")
    plugins = _plugins(options)
    if not model.automatic_optimization:  # then Lightning does neither
        clip = options.pop("gradient_clip_val"), options.pop("gradient_clip_algorithm") or "norm"
        model.clip_and_accumulate(*clip, options.pop("accumulate_grad_batches"))
    if one_device is not None:
        options["strategy"] = one_device
        model.automatic_optimization = False
    try:
        return _trainer(options, run_dir, callbacks, loggers, plugins)
    except (ValueError, MisconfigurationException) as error:
        message = " ".join(str(error).split())
        named = [
            f"trainer.{k}={v}" for k, v in config.trainer.items() if str(k) in message.lower() and str(v) in message
        ]
        raise UserError(f"{', '.join(named) or 'trainer'} is not possible: {message}") from error


# Each of these takes its own keys out of `options`; what is left goes to Lightning.


def _set_up_torch(options: dict[str, Any]) -> None:
    """The settings of PyTorch for the whole process: precision of products, and threads."""
    torch.set_float32_matmul_precision(options.pop("float32_matmul_precision"))
    if not torch.cuda.device_count():
        # Adam asks at each step whether there is a GPU. With Lightning's setting, 1, NVIDIA's library would be
        # searched for on disk each time.
        os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "0"
    threads = options.pop("threads", None)
    if options["accelerator"] == "cpu":
        set_threads(threads)
        if threads is None:
            hint_of_crowd()


def _lay_out(model: Any, options: dict[str, Any], processes: int) -> None:
    """The model's weights with channels last, its batch norms over all processes, its networks compiled, if asked.

    Raises:
        UserError: no network of the model can be compiled.
    """
    if options.pop("channels_last", False):
        model.to(memory_format=torch.channels_last)
    if options.pop("compile", False):
        model.compiled = model.private is None and compile_networks(model.networks()) > 0
        if not model.compiled:
            raise UserError(
                f"trainer.compile=true can compile no network of this {type(model).__name__}: docs/speed.md says "
                "which models it compiles. Set it to false."
            )
    synchronized, on_cpu = bool(options["sync_batchnorm"]) and processes > 1, options["accelerator"] == "cpu"
    options["sync_batchnorm"] = synchronized and options["accelerator"] == "cuda"
    if synchronized and on_cpu:  # torch's own is for GPUs only
        synchronize(model)


def _choose_strategy(config: DictConfig, model: Any, options: dict[str, Any], processes: int) -> OneDevice | None:
    """Set the strategy by its name; returns our own in its place if there is one device and several steps a call."""
    strategy = strategy_of(config.trainer, model, processes)
    options["strategy"] = with_timeout(strategy, options.pop("process_timeout"))
    options.pop("steps_per_call", None)
    most, graphs = steps_per_call(config, model, processes), bool(options.pop("cuda_graphs", False))
    if graphs:
        check_graphs(config.trainer, options["accelerator"], most)
    return None if most == 1 else OneDevice(device_of(config.trainer), most, graphs)


def _plugins(options: dict[str, Any]) -> list[Any]:
    """What writes checkpoints, leaves SLURM's requeueing alone, and trains in true half precision.

    Raises:
        UserError: float16 on a CPU.
    """
    plugins: list[Any] = [AtomicCheckpointIO()]
    if not TorchElasticEnvironment.detect() and SLURMEnvironment.detect():
        # A job continues from last.ckpt, not from a checkpoint by Lightning.
        plugins.append(SLURMEnvironment(auto_requeue=False))
    precision = options["precision"]
    if options["accelerator"] == "cpu" and str(precision) in ("16", "16-mixed"):  # Lightning would use bfloat16
        raise UserError(f"trainer.precision={precision} needs a GPU: on a CPU use trainer.precision=bf16-mixed.")
    if precision in HALF_PRECISIONS:
        plugins.append(HalfLayers(options.pop("precision")))
    return plugins


def _trainer(
    options: dict, run_dir: Path, callbacks: list[Callback], loggers: list[Logger], plugins: list[Any]
) -> Trainer:
    return Trainer(
        **options,
        max_epochs=-1,  # count steps; the training stream is endless
        limit_val_batches=0,  # the callback Evaluation does this
        num_sanity_val_steps=0,
        default_root_dir=run_dir,
        callbacks=callbacks,
        logger=loggers,
        plugins=plugins,
        enable_model_summary=False,
    )
