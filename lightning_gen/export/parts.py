"""The parts of a trained model that are exported: modules from tensors to tensors, with words for each tensor."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.classifier import Classifier
from lightning_gen.models.vqvae import VQVAE
from lightning_gen.networks.shapes import POINTS

NORMAL, UNIFORM = "drawn from N(0, 1)", "drawn from U[0, 1)"
EXAMPLES = 3  # rows of the example inputs; not 1, which torch.export takes for a constant


@dataclass(frozen=True)
class Port:
    """An input or output of a part: its name, its shape without the batch, its type, and what its values are."""

    name: str
    shape: tuple[int, ...]
    values: str
    dtype: str = "float32"

    def example(self, count: int, generator: torch.Generator) -> Tensor:
        """Values [count, *shape] of this kind."""
        if self.dtype == "int64":
            return torch.arange(count) % 2
        draw = torch.randn if self.values == NORMAL else torch.rand
        return draw(count, *self.shape, generator=generator)


class NamedNoise(ABC):
    """Noise whose draws have names: `normal`, `uniform`, and from the second of a kind on `normal2` and so on."""

    def __init__(self) -> None:
        self.drawn = {NORMAL: 0, UNIFORM: 0}

    def normal(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        return self.named(self._name("normal", NORMAL), tuple(shape), NORMAL)

    def uniform(self, shape: torch.Size | tuple[int, ...], device: torch.device) -> Tensor:
        return self.named(self._name("uniform", UNIFORM), tuple(shape), UNIFORM)

    def _name(self, word: str, kind: str) -> str:
        self.drawn[kind] += 1
        return word if self.drawn[kind] == 1 else f"{word}{self.drawn[kind]}"

    @abstractmethod
    def named(self, name: str, shape: tuple[int, ...], values: str) -> Tensor:
        """The draw of this name: numbers of the kind `values`, with this shape."""


class Asked(NamedNoise):
    """Writes down what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[Port] = []

    def named(self, name: str, shape: tuple[int, ...], values: str) -> Tensor:
        self.ports.append(Port(name, shape[1:], values))
        return torch.full(shape, 0.5)


class Given(NamedNoise):
    """Returns given tensors by name; zeros for those that nothing depends on and that are not given."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        super().__init__()
        self.tensors = tensors

    def named(self, name: str, shape: tuple[int, ...], values: str) -> Tensor:
        return self.tensors[name] if name in self.tensors else torch.zeros(shape)


class Part(nn.Module):
    """A function of a model, from the tensors that `inputs` describes to the one that `output` describes.

    It holds a copy of the model without the weights that the function does not use.
    """

    def __init__(
        self,
        model: GenerativeModel,
        function: Callable[..., Tensor],
        inputs: list[Port],
        output: Port,
    ) -> None:
        super().__init__()
        model = copy.deepcopy(model)
        self.inputs, self.output = inputs, output
        self.function = partial(function, model)  # hides the model, of which only the children that are used count
        examples = self.examples()
        with torch.no_grad(), Uses() as uses:
            self(*examples)
        self.inputs = [port for port, example in zip(inputs, examples, strict=True) if id(example) in uses.ids]
        self.weights = nn.Module()
        for name, child in model.named_children():
            if any(id(tensor) in uses.ids for tensor in [*child.parameters(), *child.buffers()]):
                self.weights.add_module(name, child)
        for module in self.modules():
            for name, parameter in module._parameters.items():
                if id(parameter) not in uses.ids:
                    module._parameters[name] = None

    def forward(self, *tensors: Tensor) -> Tensor:
        named = {port.name: tensor for port, tensor in zip(self.inputs, tensors, strict=True)}
        return self.function(named).float()

    def examples(self, count: int = EXAMPLES, seed: int = 0) -> tuple[Tensor, ...]:
        """Inputs of `count` rows that look like real ones."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(port.example(count, generator) for port in self.inputs)


class Uses(TorchDispatchMode):
    """Inside, writes down the ids of all tensors that operations take."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.ids.update(
            id(leaf) for leaf in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)
        )
        return func(*args, **(kwargs or {}))


# -- the parts of a model ------------------------------------------------------------------------------------


def parts_of(model: GenerativeModel) -> dict[str, Part]:
    """The parts that a model has, by name: `sampler`, `decoder`, `encoder`; of a classifier, `classifier`.

    A sampler takes noise and, if the model is conditioned on classes, labels; see `why_no_sampler`.
    """
    shape, classes = tuple(model.image_shape), model.num_classes
    images = Port("images", shape, "points" if shape == POINTS else "pixels in [0, 1]")
    if isinstance(model, Classifier):
        outputs = len(model.head[-1].bias)  # type: ignore[arg-type]
        logits = Port("logits", (outputs,), f"logits of the classes 0 to {outputs - 1}")
        return {"classifier": Part(model, classified, [images], logits)}
    codes = Port("codes", (model.latent_dim,), "codes")
    labels = [Port("labels", (), f"classes, 0 to {classes - 1}", "int64")] if classes else []
    parts = {"decoder": Part(model, decoded, [codes, *labels], images)}
    if model.can_encode:
        parts["encoder"] = Part(model, encoded, [images, *labels], codes)
    if why_no_sampler(model) is None:
        asked = Asked()
        model.codes_from(asked, EXAMPLES)
        parts["sampler"] = Part(model, sampled, [*asked.ports, *labels], images)
    return parts


def why_no_sampler(model: GenerativeModel) -> str | None:
    """The reason why a model has no sampler that can be exported, or None if it has one."""
    if isinstance(model, VQVAE) and model.density is None:
        return "its prior draws the codes of an image one after the other, in a loop that a graph cannot hold"
    return None if model.can_sample else "the model draws no images"


def decoded(model: GenerativeModel, tensors: dict[str, Tensor]) -> Tensor:
    return model.decode(model.labelled(tensors["codes"], tensors.get("labels")))


def encoded(model: GenerativeModel, tensors: dict[str, Tensor]) -> Tensor:
    return model.encode(tensors["images"], tensors.get("labels"))


def sampled(model: GenerativeModel, tensors: dict[str, Tensor]) -> Tensor:
    count = next(iter(tensors.values())).shape[0]
    return model.decode(model.labelled(model.codes_from(Given(tensors), count), tensors.get("labels")))


def classified(model: Any, tensors: dict[str, Tensor]) -> Tensor:
    return model(tensors["images"])
