"""Check a config before anything is built from it."""

from omegaconf import DictConfig, OmegaConf

from lightning_gen.config.schema import check
from lightning_gen.config.tree import options_of_groups
from lightning_gen.errors import UserError
from lightning_gen.objectives.schedules import is_schedule


def validate(config: DictConfig) -> None:
    """Check the type and range of each key, and the rules that involve several keys.

    Raises:
        UserError: names the override to change.
    """
    _check_slashes(config)
    check(config)
    if not config.dataset.get("name"):
        raise UserError(
            "dataset.name is empty: name the data set; for dataset=huggingface, as on the Hub: "
            "dataset.name=ylecun/mnist."
        )
    if config.evaluation.num_samples < 2:
        raise UserError(f"evaluation.num_samples={config.evaluation.num_samples}: a covariance needs at least 2.")
    if "_target_" in (config.model.get("penalty") or {}):
        target = config.model.penalty._target_
        name = target.rsplit(".", 1)[-1].lower()
        raise UserError(  # several can be combined, so each needs a key
            f"model/penalty: each penalty stands under a name. In its file, such as conf/model/penalty/{name}.yaml, "
            f"write `{name}: {{_target_: {target}, weight: 1.0}}`, with the penalty's own arguments."
        )
    for name, node in (config.get("logger") or {}).items():
        if not (OmegaConf.is_dict(node) and "_target_" in node):
            raise UserError(
                f"logger.{name}: each logger stands under a name, so that there can be several: "
                f"logger.wandb.KEY=VALUE, and in its file `NAME: {{_target_: ..., ...}}`."
            )
    augment = config.model.get("augment") or {}
    if augment.get("target") is not None and is_schedule(augment.get("p")):
        raise UserError(
            "model.augment.p is a schedule, but model.augment.target adapts it: use model/augment=scheduled, or set "
            "model.augment.p to a number."
        )
    if config.networks.decoder.get("tied") and config.model.name not in ("ae", "classifier"):
        raise UserError("networks.decoder.tied=true needs an encoder to mirror: use model=ae, or tied=false.")


def _check_slashes(config: DictConfig) -> None:
    for group, options in options_of_groups().items():
        key = group.replace("/", ".")
        if group.startswith("model/") and OmegaConf.select(config, key) in options:
            name = OmegaConf.select(config, key)
            raise UserError(f"{key}={name}: an option of a group is chosen with a slash, {group}={name}.")


def check_batch(batch_size: int, processes: int) -> None:
    """Check that the global batch is a multiple of the number of processes.

    Raises:
        UserError: it is not; the message names the nearest batch sizes that are.
    """
    if batch_size % processes:
        below = batch_size // processes * processes
        sizes = " or ".join(str(size) for size in (below, below + processes) if size)
        raise UserError(
            f"dataset.batch_size={batch_size} is the batch over all devices and does not divide by "
            f"{processes} of them: use {sizes}."
        )
