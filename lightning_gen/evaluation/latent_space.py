"""The space of directions and inversions: the codes of a model, or the styles of a generator that has them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized

from lightning_gen.data.imageset import ImageSet
from lightning_gen.data.loader import in_order
from lightning_gen.data.module import ImageDataModule
from lightning_gen.errors import UserError
from lightning_gen.models.base import GenerativeModel
from lightning_gen.models.gan import GAN
from lightning_gen.models.gmm import GMM
from lightning_gen.models.use import CHUNK, codes_of
from lightning_gen.randomness import mix

BATCH = 500  # images encoded at once
TOLERANCE = 1e-3  # relative; of what counts as affine


@dataclass(frozen=True)
class LatentSpace:
    """Points [N, D] that a model makes images of: codes, or styles (the same one for each layer of the generator).

    Labels [N] are None in a model without classes. A style contains its label.
    """

    model: GenerativeModel
    styles: bool

    @property
    def name(self) -> str:
        return "styles" if self.styles else "codes"

    @property
    def encodes(self) -> bool:
        """Whether points are codes of images. Not for a GAN: what it draws is what it has learned to show."""
        return self.model.can_encode and not isinstance(self.model, GAN)

    def images(self, points: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images [N, C, H, W] of points; those of a GAN with a linear output may leave [0, 1]."""
        model: Any = self.model
        if self.styles:
            every = points.unsqueeze(1).expand(-1, model.generator.num_styles, -1)
            return model.to_image(model.generator.synthesize(every).float())
        latents = model.labelled(points, labels)
        return (model.generate(latents) if hasattr(model, "generate") else model.decode(latents)).float()

    @torch.no_grad()
    def shown(self, points: Tensor, labels: Tensor | None = None) -> Tensor:
        """Images on the CPU, in [0, 1], of any number of points."""
        sections = [None] * len(points) if labels is None else labels.split(CHUNK)
        parts = zip(points.split(CHUNK), sections, strict=False)
        return torch.cat([self.images(part, label).clamp(0, 1).cpu() for part, label in parts])

    @torch.no_grad()
    def draw(self, count: int, seed: int) -> tuple[Tensor, Tensor | None]:
        """Points drawn from the prior, and their labels, drawn uniformly; a seed gives the same on every device."""
        model: Any = self.model
        generator = torch.Generator().manual_seed(mix(seed))
        latents = model.sample_latents(count, generator)
        codes, hot = latents[:, : model.latent_dim], latents[:, model.latent_dim :]
        if self.styles:
            return torch.cat([model.generator.styles(part)[:, 0].float() for part in latents.split(CHUNK)]), None
        return codes, hot.argmax(dim=1) if model.num_classes else None


def space_of(model: GenerativeModel) -> LatentSpace:
    """The styles of a generator that has styles, otherwise the codes.

    Raises:
        UserError: a model without a network that makes images of codes.
    """
    if model.image_shape[1] == 1:
        raise UserError("This command is for images, and this run has points or rows of a table.")
    if isinstance(model, GMM) or not (model.can_sample or model.can_encode):
        raise UserError(f"{type(model).__name__} has no network that makes images of codes: use model=gan or vae.")
    return LatentSpace(model, isinstance(model, GAN) and model.has_styles())


def points_of(
    space: LatentSpace, data: ImageDataModule, count: int, seed: int, test: bool = False
) -> tuple[Tensor, Tensor | None, ImageSet | None]:
    """Typical points, the labels that the model needs with them, and the images that they are the codes of.

    They are the codes of random training (or test) images if the space `encodes`, otherwise draws from the prior.
    """
    if not space.encodes:
        return *space.draw(count, seed), None
    part, device = data.test if test else data.train, space.model.device
    chosen = torch.randperm(len(part), generator=torch.Generator().manual_seed(mix(seed)))[:count]
    images = part.subset(chosen)
    codes, labels = codes_of(space.model, in_order(images, BATCH, device))
    given = labels.to(device) if labels is not None and space.model.num_classes else None
    return codes.to(device), given, images


# -- the layers that a point enters ----------------------------------------------------------------------------


@torch.no_grad()
def first_layers(space: LatentSpace, dim: int) -> tuple[Tensor, nn.Module | None]:
    """The affine layers that a point enters, as one matrix, and the first later module whose input is not affine.

    They are found by a pass over the points 0, e_1, ..., e_D: a layer that a point enters has inputs that are numbers
    of the point or constants. So the layers may be of any kind, several, and get any part of the point each. A batch
    norm behind such a layer, which is affine in evaluation mode, belongs to it.

    Returns:
        A [F, D], the outputs of all these layers below each other as a function of the point, without their
        constants; and the module, whose input is the first that is a non-linear function of the point.

    Raises:
        UserError: there is no such layer.
    """
    device = space.model.device
    probe = torch.linspace(-1, 1, dim, device=device).unsqueeze(0)
    points = torch.cat([torch.zeros(1, dim, device=device), torch.eye(dim, device=device), probe])
    labels = torch.zeros(len(points), dtype=torch.long, device=device) if space.model.num_classes else None
    entered: dict[int, Tensor] = {}  # the outputs of the layers, by the address of their values
    later: list[nn.Module] = []

    def look(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        value = inputs[0] if inputs else None
        if not isinstance(value, Tensor) or len(value) != len(points) or not isinstance(output, Tensor):
            return
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and value.data_ptr() in entered:
            del entered[value.data_ptr()]
            entered[output.data_ptr()] = output
        elif not _depends(value):
            return
        elif not _is_affine(value, probe):
            later.append(module)
        elif _is_selection(value) and _is_affine(output, probe):
            entered[output.data_ptr()] = output

    with _hooked(space.model, look):
        space.images(points, labels)
    matrices = [(output[1:-1] - output[0]).flatten(1).T for output in entered.values()]
    if not matrices:
        raise UserError(f"{type(space.model).__name__} has no affine layer that codes enter: use another --method.")
    return torch.cat(matrices).float(), later[0] if later else None


@torch.no_grad()
def features_at(space: LatentSpace, module: nn.Module, points: Tensor, labels: Tensor | None) -> Tensor:
    """What this module of the network gets as its input, float [N, F], for points [N, D]."""
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].flatten(1).float()))
    try:
        sections = [None] * len(points) if labels is None else labels.split(CHUNK)
        for part, label in zip(points.split(CHUNK), sections, strict=False):
            space.images(part, label)
    finally:
        handle.remove()
    return torch.cat(seen)


@contextmanager
def _hooked(model: nn.Module, look: Callable[[nn.Module, tuple[Any, ...], Any], None]) -> Iterator[None]:
    """Inside, `look` sees the inputs and the output of every module that has parameters of its own."""
    layers = [m for m in model.modules() if is_parametrized(m) or any(True for _ in m.parameters(recurse=False))]
    handles = [layer.register_forward_hook(look) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _depends(values: Tensor) -> bool:
    """Whether values [D + 2, ...] are not the same at all points."""
    return bool((values != values[:1]).any())


def _is_affine(values: Tensor, probe: Tensor) -> bool:
    """Whether values [D + 2, ...] at 0, e_1, ..., e_D and the probe are affine in the point."""
    rows = values.flatten(1).float()
    matrix = rows[1:-1] - rows[0]
    expected = rows[0] + (probe @ matrix)[0]
    scale = (rows[-1] - rows[0]).abs().max()
    return bool((rows[-1] - expected).abs().max() <= TOLERANCE * scale)


def _is_selection(values: Tensor) -> bool:
    """Whether each of the values [D + 2, ...] is a number of the point or a constant."""
    rows = values.flatten(1).float()
    changes = rows[1:-1] - rows[0]
    return bool(((changes == 0) | (changes == 1)).all()) and bool((changes.sum(dim=0) <= 1).all())
