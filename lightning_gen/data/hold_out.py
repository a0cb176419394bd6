"""Which rows of a data set without a test split are held out."""

import torch

from lightning_gen.errors import UserError
from lightning_gen.randomness import Stream, mix


def hold_out_rows(total: int, fraction: float) -> tuple[list[int], list[int]]:
    """The rows of the training split and of the test split, each in order; the same in every run.

    Raises:
        UserError: the fraction leaves a split empty.
    """
    if not 0 < fraction < 1:
        raise UserError(f"dataset.test_fraction={fraction}: use a number between 0 and 1, such as 0.1.")
    count = max(round(total * fraction), 1)
    if count >= total:
        raise UserError(
            f"dataset.test_fraction={fraction} leaves nothing to train on, of {total} in all: use more data."
        )
    order = torch.randperm(total, generator=torch.Generator().manual_seed(mix(0, Stream.SPLIT)))
    return order[count:].sort().values.tolist(), order[:count].sort().values.tolist()
