"""Sprites with known factors of variation, drawn by formula: no download."""

import torch

from lightning_gen.data.imageset import Decoding, ImageSet, Splits
from lightning_gen.evaluation.sprites import CATEGORICAL, FACTORS
from lightning_gen.evaluation.sprites import sprites as draw

HELD_OUT = 921  # a fifth of the 4,608


def sprites(decoding: Decoding) -> Splits:
    """Every combination of shape, scale, orientation and position once, 32x32: 3,687 to train, 921 held out.

    The split is drawn once, with seed 0. There are no class labels: a classifier of shapes would learn not to see
    the other factors, and a distance in its features likewise.
    """
    images, factors = draw()
    categorical = tuple(index for index, name in enumerate(FACTORS) if name in CATEGORICAL)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    whole = ImageSet(images, factors=factors, categorical=categorical)
    return Splits(train=whole.subset(order[HELD_OUT:]), test=whole.subset(order[:HELD_OUT]))
