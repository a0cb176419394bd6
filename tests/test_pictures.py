"""Images that come in are checked; images that go out are pictures."""

import numpy as np
import pytest
import torch

from lightning_gen.pictures import as_images, grid

GOOD = torch.linspace(0, 1, 2 * 3 * 4 * 4).view(2, 3, 4, 4)


@pytest.mark.parametrize(
    "images",
    [
        GOOD,
        GOOD.double(),
        GOOD.half(),
        GOOD.numpy(),
        GOOD.numpy()[::-1],
        (GOOD * 255).byte(),
        (GOOD * 255).byte().numpy(),
    ],
)
def test_tensors_and_arrays_of_8_bits_or_unit_range(images):
    found = as_images(images, (3, 4, 4))
    assert isinstance(found, torch.Tensor)
    assert np.array_equal(found.numpy(), np.asarray(images))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (GOOD[0], r"got \[3, 4, 4\]: pass one image as image\[None\]"),
        (GOOD.permute(0, 2, 3, 1), r"expected images \[N, 3, 4, 4\].*got \[2, 4, 4, 3\]"),
        (GOOD[:0], "got none"),
        (GOOD * 255, r"values from 0 to 255: rescale"),
        (GOOD * 2 - 1, r"values from -1 to 1"),
        (GOOD * float("nan"), "values from nan"),
        ((GOOD * 255).long(), "got torch.int64"),
        (GOOD > 0.5, "got torch.bool"),
    ],
)
def test_images_of_another_shape_type_or_range_are_refused(images, message):
    for given in (images, images.numpy()):
        with pytest.raises(ValueError, match=message):
            as_images(given, (3, 4, 4))


def test_a_grid_of_8_bit_images_is_that_of_the_same_images_as_floats():
    images = (GOOD * 255).byte()
    assert np.array_equal(grid(images, 2), grid(images.float() / 255, 2))
