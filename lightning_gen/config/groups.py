"""The keys of the groups that build no object, with their types and ranges."""

from dataclasses import dataclass, field
from typing import Any, Literal

from lightning_gen.ranges import Count, Natural, NonNegative, Positive, PositiveFraction

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
    compile: bool


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
