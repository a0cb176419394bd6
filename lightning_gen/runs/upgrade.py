"""Translate configs and overrides of earlier versions to the present names."""

import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

# Old and new places of the modules and classes that `_target_` may name.
MOVED = {
    "lightning_gen.schedules.": "lightning_gen.objectives.schedules.",
    "lightning_gen.loggers.": "lightning_gen.training.loggers.choices.",
    **{
        f"lightning_gen.training.loggers.{name}_logger": f"lightning_gen.training.loggers.choices.{name}_logger"
        for name in ("wandb", "tensorboard", "mlflow", "trackio")
    },
    "lightning_gen.training.wandb_record.": "lightning_gen.training.loggers.wandb_record.",
    "lightning_gen.objectives.penalties.Consistency": "lightning_gen.objectives.logit_penalties.Consistency",
    "lightning_gen.objectives.penalties.LeCam": "lightning_gen.objectives.logit_penalties.LeCam",
    "lightning_gen.objectives.augmentation.AdaptiveAugment": "lightning_gen.objectives.adaptive.AdaptiveAugment",
    "lightning_gen.objectives.mmd.": "lightning_gen.objectives.divergences.",
}
# Old and new names of the keys of `vqvae` that are in the group `model/quantizer` now.
QUANTIZER = {
    "num_codes": "num_codes",
    "code_dim": "dim",
    "decay": "decay",
    "revive_after": "revive_after",
    "commitment": "commitment",
}
# Old and new names of keys and groups in overrides; what follows them (`.lr`, `=3`) stays.
RENAMED = {
    "model.ema_half_life": "ema.half_life",
    "model.ema_buffers": "ema.buffers",
    "model.schedule": "schedule",
    "model/schedule": "schedule",
    "model.conditional": "conditional",
    "model.num_classes": "num_classes",
    "model.encoder_from": "encoder_from",
    **{f"model.{old}": f"model.quantizer.{new}" for old, new in QUANTIZER.items()},
    **{f"logger.{key}": f"logger.wandb.{key}" for key in ("mode", "project", "entity", "group", "tags")},
}
# The letters that groups of ADA's transformations had in a text.
ADA_GROUPS = {"blit": "b", "geometry": "g", "colour": "c"}
# Values of new groups, for runs that were started before these existed.
NEW = {"conditional": False, "num_classes": None, "encoder_from": None}
# How a class behaved before it had an option, by its present `_target_`. Runs trained that way continue that way.
BEFORE: dict[str, dict[str, Any]] = {
    "lightning_gen.models.gan.GAN": {"auxiliary_on_fakes": False},
    "lightning_gen.objectives.adaptive.AdaptiveAugment": {"low_pass": False},
    "lightning_gen.networks.biggan.BigGANDecoder": {"normalize_embedding": True},
    "lightning_gen.networks.r3gan.R3GANEncoder": {"taps": [1, 2, 1], "projection": "plain"},
    "lightning_gen.networks.r3gan.R3GANDecoder": {"taps": [1, 2, 1]},
    "lightning_gen.objectives.logit_penalties.Consistency": {"padding": "zeros"},
    "lightning_gen.objectives.penalties.Dragan": {"interpolate": False},
    "lightning_gen.objectives.posteriors.IAF": {"direct": False},
    "lightning_gen.objectives.logit_penalties.LeCam": {"rectified": False, "debias": False},
    "lightning_gen.networks.stylegan2.StyleGAN2Encoder": {"projection": "plain"},
    "lightning_gen.networks.stylegan2.StyleGAN2Decoder": {"w_avg_decay": None},
}
# Metrics that a run with `mode: null` took to be better the lower they are. Now their direction is not known.
FORMERLY_LOWER = ("c2st", "logits_gap", "squared_error_pca", "nll_simulated")


def renamed(override: str) -> str:
    """The override with the present name of its key; overrides of present keys are returned unchanged."""
    letters = re.fullmatch(r"model\.augment\.transformations=([bgc]+)", override)
    if letters:
        factors = ",".join(f"{name}:{float(letter in letters[1])}" for name, letter in ADA_GROUPS.items())
        return f"model.augment.groups={{{factors}}}"
    for old, new in RENAMED.items():
        found = re.match(rf"([+~]*){re.escape(old)}(?=[.@=]|$)", override)
        if found:
            return found[1] + new + override[found.end() :]
    return override


def upgraded(config: DictConfig) -> DictConfig:
    """The config of a run of any earlier version in the present form; the argument is not changed."""
    tree = _with_quantizer(_with_objective(_with_targets(OmegaConf.to_container(config))))
    tree = _with_schedules(tree, _batch_of(tree))
    if isinstance(tree.get("model"), dict) and "ema" not in tree:
        tree = _with_groups(tree)
    if isinstance(tree.get("ema"), dict):
        tree["ema"] = {"ramp": 0.05} | tree["ema"]
    if isinstance(tree.get("checkpoint"), dict):
        tree["checkpoint"] = {"every_n_seconds": None, "keep": 1} | tree["checkpoint"]
        tree["trainer"] = {"process_timeout": 1800} | tree["trainer"]
        tree = {"on_divergence": "stop", "rollback": {"lr_factor": 0.5, "max_times": 3}} | tree
    tree = _with_modes({"report": True, **tree})
    if isinstance(tree.get("logger"), dict):
        tree["logger"] = _by_name(tree["logger"])
    return OmegaConf.create(tree)


def _with_modes(tree: dict[str, Any]) -> dict[str, Any]:
    """`min` for best.ckpt and early stopping by a metric of `FORMERLY_LOWER`, where nothing else was chosen."""

    def with_mode(node: Any) -> Any:
        metric = str(node.get("monitor")) if isinstance(node, dict) else ""
        if not metric.removeprefix("eval/").startswith(FORMERLY_LOWER) or node.get("mode", "") is not None:
            return node
        return node | {"mode": "min"}

    changed = {"checkpoint": with_mode(tree.get("checkpoint"))}
    if isinstance(tree.get("callbacks"), dict):
        changed["callbacks"] = {name: with_mode(node) for name, node in tree["callbacks"].items()}
    return tree | {key: node for key, node in changed.items() if key in tree}


def _by_name(logger: dict[str, Any]) -> dict[str, Any]:
    """The loggers of a run by name; there was one, without a name, or `{mode: null}` for none."""
    if "_target_" not in logger:
        return {name: node for name, node in logger.items() if isinstance(node, dict)}
    name = str(logger["_target_"]).rsplit(".", 1)[-1].removesuffix("_logger")
    return {name: {key: value for key, value in logger.items() if key != "mode" or name == "wandb"}}


def _with_groups(tree: dict[str, Any]) -> dict[str, Any]:
    """Move keys of `model` that are not arguments of its class to groups of their own."""
    model = dict(tree["model"])
    average = {"half_life": model.pop("ema_half_life", None), "buffers": model.pop("ema_buffers", "average")}
    moved = {key: model.pop(key) for key in ("schedule", *NEW) if key in model}
    moved["num_classes"] = moved.get("num_classes") or None  # 0 used to mean no classes
    model.pop("monitor", None)  # the same config has it in checkpoint.monitor
    if isinstance(model.get("source"), dict):  # a model inside the model
        inner = _with_groups(model["source"])
        model["source"] = {key: inner[key] for key in ("model", "networks", "seed", "num_classes")}
    return {**tree, "ema": average, **NEW, **moved, "model": model}


def with_schedules(overrides: list[str]) -> list[str]:
    """The overrides with a schedule over images in place of the keys of the former ones, which counted steps.

    These were `steps`, `beta`, `cyclic` and `rising` of the objectives `warm_up` and `cyclic`, and `steps` and
    `capacity` of `capacity`.
    """
    chosen = {o.partition("=")[2] for o in overrides if o.startswith("model/objective=")}
    if not chosen & {"warm_up", "cyclic", "capacity"}:
        return overrides
    key = "capacity" if "capacity" in chosen else "beta"
    former = [o for o in overrides if re.match(rf"model\.objective\.(steps|cyclic|rising|{key})=[^{{]", o)]
    if not former:
        return overrides
    values = dict(o.removeprefix("model.objective.").split("=") for o in former)
    steps = float(values.get("steps", "5000" if key == "capacity" else "2000"))
    cyclic = values.get("cyclic", str("cyclic" in chosen)).lower() == "true"
    ends = _cycle(float(values.get("rising", "0.5"))) if cyclic else [1.0]
    tops = ",".join([values.get(key, "25.0" if key == "capacity" else "1.0")] * len(ends))
    images = ",".join(f"'${{images_of:{steps * end},${{dataset.batch_size}}}}'" for end in ends)
    repeat = ",repeat:true" if cyclic else ""
    schedule = f"model.objective.{key}={{values:[0.0,{tops}],images:[0,{images}]{repeat}}}"
    return [*(o for o in overrides if o not in former), schedule]


def _cycle(rising: float) -> list[float]:
    """The points of a cycle after its start, as parts of it."""
    return [rising, 1.0] if rising < 1 else [1.0]


def _batch_of(tree: Any) -> int:
    """The images of a step; 1 where the config does not say."""
    parts = [tree.get(group) or {} for group in ("dataset", "trainer")]
    return int(parts[0].get("batch_size", 1)) * int(parts[1].get("accumulate_grad_batches", 1))


def _with_schedules(node: Any, batch: int) -> Any:
    """Numbers that changed with the steps, each in its own way, as schedules over images."""
    if isinstance(node, list):
        return [_with_schedules(value, batch) for value in node]
    if not isinstance(node, dict):
        return node
    node = {key: _with_schedules(value, batch) for key, value in node.items()}
    target = node.get("_target_")
    if target == "lightning_gen.objectives.bounds.WarmUp":
        ends = _cycle(node.get("rising", 0.5)) if node.get("cyclic") else [1.0]
        beta = {
            "values": [0.0, *[node.get("beta", 1.0)] * len(ends)],
            "images": [0, *(end * node["steps"] * batch for end in ends)],
            "repeat": bool(node.get("cyclic")),
        }
        return {"_target_": "lightning_gen.objectives.bounds.ELBO", "beta": beta, "samples": node.get("samples", 1)}
    if target == "lightning_gen.objectives.bounds.Capacity" and "steps" in node:
        images = [0, node.pop("steps") * batch]
        return {**node, "capacity": {"values": [0.0, node["capacity"]], "images": images}}
    if target == "lightning_gen.objectives.adaptive.AdaptiveAugment" and "transformations" in node:
        letters = node.pop("transformations")
        node["groups"] = {name: float(letter in letters) for name, letter in ADA_GROUPS.items()}
    if target == "lightning_gen.objectives.adaptive.AdaptiveAugment" and "final_p" in node:
        final, images = node.pop("final_p"), node.pop("ramp_images", 20_000_000)
        if final is not None:
            node["p"] = {"values": [node.get("p", 0.0), final], "images": [0, images], "shape": "cosine"}
    return node


def with_objective_group(overrides: list[str]) -> list[str]:
    """The overrides with choices of `model/objective` in place of `hierarchical_vae`'s former keys.

    These were `model.objective=iwae` or `elbo`, and `model.k`, the number of samples; `iwae` and 1 by default.
    """
    former = [o for o in overrides if re.fullmatch(r"model\.(objective=(iwae|elbo)|k=\d+)", o)]
    if not former:
        return overrides
    values = dict(o.split("=") for o in former)
    if "model=hierarchical_vae" in overrides:
        values.setdefault("model.k", "1")
    group = [f"model/objective={values.get('model.objective', 'iwae')}"]
    samples = [f"model.objective.samples={values['model.k']}"] if "model.k" in values else []
    return [*(o for o in overrides if o not in former), *group, *samples]


def _with_objective(tree: dict[str, Any]) -> dict[str, Any]:
    """`hierarchical_vae` had the name of its objective as a value, and the number of samples as the key `k`."""
    model = tree.get("model")
    if not isinstance(model, dict):
        return tree
    model = dict(model)
    if model.get("objective") in ("iwae", "elbo"):
        name = {"iwae": "IWAE", "elbo": "ELBO"}[model["objective"]]
        samples = model.pop("k")
        model["objective"] = {"_target_": f"lightning_gen.objectives.bounds.{name}", "samples": samples}
    if isinstance(model.get("source"), dict):  # a model inside the model
        model["source"] = _with_objective(model["source"])
    return {**tree, "model": model}


def _with_quantizer(tree: dict[str, Any]) -> dict[str, Any]:
    """The keys of `vqvae`'s codebook were keys of the model."""
    model = tree.get("model")
    if not isinstance(model, dict):
        return tree
    if isinstance(model.get("source"), dict):  # a model inside the model
        model = model | {"source": _with_quantizer(model["source"])}
    if "code_dim" in model:
        former = {new: model[old] for old, new in QUANTIZER.items() if old in model}
        quantizer = {"_target_": "lightning_gen.models.codebook.Codebook", "_partial_": True, **former}
        model = {key: value for key, value in model.items() if key not in QUANTIZER} | {"quantizer": quantizer}
    return {**tree, "model": model}


def _with_targets(node: Any) -> Any:
    """The same tree, each `_target_` in its present module and with all the options of its behaviour then."""
    if isinstance(node, list):
        return [_with_targets(value) for value in node]
    if not isinstance(node, dict):
        return node
    result = {key: _with_targets(value) for key, value in node.items()}
    target = result.get("_target_")
    if isinstance(target, str):
        old = next((prefix for prefix in MOVED if target.startswith(prefix)), "")
        target = MOVED.get(old, "") + target.removeprefix(old)
        if target.endswith(".LeCam") and "rectified" not in result and "weight" in result:
            result["weight"] *= 0.5  # it was half of the sum
        result = BEFORE.get(target, {}) | result | {"_target_": target}
    return result
