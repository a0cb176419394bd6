"""Hydra's entry to the searches of lightning_gen, `hydra/sweeper=search`. Hydra imports this at every start."""

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class Search(Sweeper):
    """Runs the trials of a search; see `lightning_gen.search.search`.

    Args:
        params: the space, in Hydra's own syntax: {"model.optimizer.lr": "tag(log, interval(1e-5, 1e-2))"}.
    """

    def __init__(self, params: "DictConfig") -> None:
        self.params = params

    def setup(self, *, hydra_context: "HydraContext", task_function: "TaskFunction", config: "DictConfig") -> None:
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        from lightning_gen.search.search import search

        return search(self.config, self.launcher, dict(self.params or {}), arguments)
