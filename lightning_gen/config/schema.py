"""The type and range of every key of a config, checked before anything is built.

For keys that are arguments of an object, type and range are the annotations of its class (`latent_dim: Count`). For
groups that build no object, they are in the classes below. So a new network, loss or data set is checked without
further code.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer as LightningTrainer
from torch.optim import Optimizer

from lightning_gen.config.schedules import check_schedule, has_schedule
from lightning_gen.config.types import fits, hints, in_words, is_checked, is_plain, needs_object, parameters
from lightning_gen.errors import UserError, did_you_mean, one_line
from lightning_gen.ranges import Count, Decay, Natural, NonNegative, Positive, PositiveFraction

HYDRA_KEYS = ("_target_", "_partial_", "_convert_", "_recursive_", "_args_")
RANGES_OF_OPTIMIZERS = {
    "lr": NonNegative,
    "betas": tuple[Decay, Decay],
    "eps": NonNegative,
    "weight_decay": NonNegative,
    "momentum": Decay,
}
Devices = Literal["auto"] | int | list[int]


@dataclass
class Networks:
    """conf/networks/: a pair of networks, and what is done to both."""

    encoder: dict
    decoder: dict
    spectral_norm: Literal["none", "encoder", "decoder", "both"]
    init: Literal["default", "glorot", "xavier_uniform", "he", "orthogonal", "normal", "dcgan"]


@dataclass
class Ema:
    """conf/ema/: the average of the weights."""

    half_life: NonNegative | None
    ramp: NonNegative | None
    buffers: Literal["average", "copy"]


@dataclass
class Privacy:
    """conf/privacy/: the guarantee of training."""

    epsilon: Positive | None
    delta: PositiveFraction | None
    max_grad_norm: Positive
    noise_multiplier: Positive | None
    noise_seed: Natural | None


@dataclass
class Trainer:
    """The arguments of Lightning's Trainer that have a range here; its other arguments are allowed too."""

    max_steps: Natural
    log_every_n_steps: Count
    threads: Literal["auto"] | Count | None
    steps_per_call: Literal["auto"] | Count
    accumulate_grad_batches: Count
    gradient_clip_val: Positive | None
    gradient_clip_algorithm: Literal["norm", "value"] | None
    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: Devices
    num_nodes: Count
    strategy: str
    precision: str | int
    process_timeout: Positive
    float32_matmul_precision: Literal["highest", "high", "medium"]
    channels_last: bool
    cuda_graphs: bool


# Arguments of Lightning's Trainer that this package sets itself, and the key to use instead.
SET_BY_US = {
    "max_epochs": "trainer.max_steps",
    "min_epochs": "trainer.max_steps",
    "min_steps": "trainer.max_steps",
    "logger": "logger",
    "callbacks": "callbacks",
    "plugins": "",
    "default_root_dir": "hydra.run.dir",
    "enable_checkpointing": "checkpoint.every_n_steps",
    "enable_model_summary": "",
    "num_sanity_val_steps": "",
    "limit_val_batches": "evaluation.every_n_steps",
    "val_check_interval": "evaluation.every_n_steps",
    "check_val_every_n_epoch": "evaluation.every_n_steps",
    "fast_dev_run": "debug=quick",
    "overfit_batches": "dataset.limit",
    "limit_train_batches": "trainer.max_steps",
    "barebones": "",
    "model_registry": "",
}


@dataclass
class Checkpoint:
    """When checkpoints are saved."""

    every_n_steps: Count
    every_n_seconds: Positive | None
    keep: Natural
    monitor: str | None
    mode: Literal["min", "max"] | None


@dataclass
class Rollback:
    """What a rollback changes, and how often there is one."""

    lr_factor: PositiveFraction
    max_times: Count


@dataclass
class Likelihood:
    """evaluation.nll: the test likelihood."""

    k: Natural
    images: Count | None
    method: Literal["importance", "ais", "bidirectional"]
    chains: Count
    temperatures: Count


@dataclass
class Evaluation:
    """conf/evaluation/: a protocol."""

    name: str
    every_n_steps: Count
    metrics: list[str]
    num_samples: Count
    num_reference: Count | None
    held_out: Count | None
    split: Literal["train", "test"]
    seed: Natural
    nll: Likelihood
    projection: Literal["pca", "tsne", "umap"] | None
    cache_dir: str
    extractor: dict | str
    metric: dict | str | None


@dataclass
class Sweep:
    """The settings of a search."""

    name: str | None
    metrics: list[str] | None
    modes: list[Literal["min", "max"]] | None
    sampler: Literal["tpe", "cmaes", "nsga2", "qmc", "random", "grid"]
    sampler_options: dict | None
    pruner: Literal["none", "median", "percentile", "hyperband", "wilcoxon"]
    pruner_options: dict | None
    trials: Count
    seconds: Positive | None
    seeds: Count
    parallel: Count
    enqueue: list[str]
    repeat_best: Natural
    seed: Natural
    storage: str | None
    trial: Natural | None


@dataclass
class Root:
    """conf/train.yaml."""

    networks: Networks
    ema: Ema
    privacy: Privacy
    trainer: Trainer
    checkpoint: Checkpoint
    on_divergence: Literal["stop", "rollback"]
    rollback: Rollback
    evaluation: Evaluation
    sweep: Sweep
    model: dict
    dataset: dict
    schedule: dict
    logger: Any
    callbacks: Any
    seed: Natural
    resume: str | None
    id: str | None
    command: str | None
    report: bool
    conditional: bool
    num_classes: Count | None
    encoder_from: str | None
    extra: dict[str, Any] = field(default_factory=dict)  # keys of a config group that a user added


GROUPS = (Root, Networks, Ema, Privacy, Trainer, Checkpoint, Rollback, Likelihood, Evaluation, Sweep)


def check(config: DictConfig) -> None:
    """Check the type and range of every key.

    Raises:
        UserError: for the first key that is wrong, with its value and what is allowed.
    """
    tree: Any = OmegaConf.to_container(config, resolve=True)
    _check_group(dict(tree), Root, "")


def _check_group(node: dict[str, Any], group: type, path: str) -> None:
    """Check a group that builds no object against the annotations of its dataclass."""
    types = hints(group)
    for key, value in node.items():
        kind, full = types.get(key, Any), f"{path}{key}"
        if group is Trainer and key not in types:
            kind = _trainer_field(key, full)
        if isinstance(kind, type) and kind.__module__ == __name__:
            if not isinstance(value, dict):
                raise UserError(f"{full}={_shown(value)} is a group of keys: set one of them, {full}.KEY=VALUE.")
            _check_group(value, kind, f"{full}.")
        else:
            _check_value(value, kind, full)


def _trainer_field(key: str, full: str) -> Any:
    known = hints(LightningTrainer)
    if key in SET_BY_US:
        instead = f": use {SET_BY_US[key]}" if SET_BY_US[key] else ""
        raise UserError(f"{full} is set by lightning_gen{instead}.")
    if key not in known:
        raise UserError(f"{full} is not an argument of Lightning's Trainer.{did_you_mean(key, known)}")
    return known[key]


def _check_value(value: Any, kind: Any, full: str) -> None:
    if has_schedule(value):
        check_schedule(value, kind, full)
    elif isinstance(value, dict) and is_checked(kind) and not fits(value, kind):
        raise UserError(f"{full}={_shown(value)} must be {in_words(kind)}.")
    elif isinstance(value, dict) and "_target_" in value:
        _check_target(value, full)
    elif isinstance(value, dict) and (kind is Any or _holds_targets(value)):
        for key, inner in value.items():
            _check_value(inner, Any, f"{full}.{key}")
    elif is_plain(value) and needs_object(kind, value):
        raise UserError(f"{full}={_shown(value)} must be a group of keys with a _target_, which builds it.")
    elif not fits(value, kind):
        raise UserError(f"{full}={_shown(value)} must be {in_words(kind)}.")


def _holds_targets(node: Any) -> bool:
    """Whether the node or a part of it builds an object."""
    return isinstance(node, dict) and ("_target_" in node or any(map(_holds_targets, node.values())))


def _check_target(node: dict[str, Any], path: str) -> None:
    """Check the arguments of an object against the annotations of its class or function."""
    parameters, types, open_ended = arguments_of(node, path)
    for key, value in node.items():
        if key in HYDRA_KEYS or (key == "name" and path.endswith("model")):
            continue
        full = f"{path}.{key}"
        if key not in parameters and not open_ended:
            raise UserError(f"There is no config key {full!r}.{did_you_mean(key, parameters)}")
        _check_value(value, types.get(key, Any), full)


def arguments_of(node: dict[str, Any], path: str) -> tuple[list[str], dict[str, Any], bool]:
    """The names and types of the arguments of a node's target, and whether it takes others as well.

    Arguments that a class passes on to one of its parts by `**options`, as a data set does to its source, are
    arguments of that part.

    Raises:
        UserError: the target cannot be imported.
    """
    try:
        target = get_object(node["_target_"])
    except Exception as error:  # importing a module may raise anything
        raise UserError(f"{path}._target_={node['_target_']} cannot be imported: {one_line(error)}") from error
    try:
        known = parameters(target)
    except ValueError:  # built-in
        return [], {}, True
    types = dict(hints(target))
    if isinstance(target, type) and issubclass(target, Optimizer):
        types |= {key: kind for key, kind in RANGES_OF_OPTIMIZERS.items() if key in known}
    names = [name for name, p in known.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in known.values())
    parts = [part for part in node.values() if isinstance(part, dict) and "_target_" in part]
    if open_ended and parts:
        for part in parts:
            more, kinds, open_ended = arguments_of(part, path)
            names, types = [*names, *more], kinds | types
    return names, types, open_ended


def _shown(value: Any) -> str:
    """The value as it would be typed on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace("'", "") if isinstance(value, dict | list) else str(value)
