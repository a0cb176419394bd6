"""Images that come in are checked; pictures that go out say what they show."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_gen.models.interpolation import along_line, along_sphere
from lightning_gen.pictures import Bars, Grid, Points, Scatter, animate, as_images, grid
from lightning_gen.pictures.animation import MOST_FRAMES, spread

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


def test_a_grid_says_what_it_shows_and_names_rows_and_columns():
    picture = Grid(torch.rand(6, 1, 28, 28), 3, "Samples", ["cat", "dog", "owl"], ["original", "made"], "abcdef")
    layout = picture.layout("GAN on MNIST")
    placed = {text.text: (text.x, text.y) for text in layout.texts}
    assert list(placed)[:2] == ["Samples", "GAN on MNIST"]
    side = 28 * layout.factor
    for index, name in enumerate(["cat", "dog", "owl"]):
        x, y = layout.corners[index]
        assert placed[name][0] == x + side / 2
        assert placed[name][1] < y
    for row, name in enumerate(["original", "made"]):
        assert placed[name][0] < layout.corners[0][0]
        assert placed[name][1] == layout.corners[3 * row][1] + side / 2
    assert [placed[letter] for letter in "abcdef"] == [(x + side / 2, y + side + 1) for x, y in layout.corners]


@pytest.mark.parametrize(
    ("shape", "columns", "count", "factor"),
    [((1, 8, 8), 8, 64, 13), ((1, 28, 28), 8, 64, 3), ((1, 28, 28), 10, 80, 3), ((3, 32, 32), 10, 80, 2)],
)
def test_small_images_are_enlarged_to_600_to_900_pixels_without_smoothing(shape, columns, count, factor):
    images = torch.randint(256, (count, *shape), dtype=torch.uint8)
    picture = Grid(images, columns, "Samples")
    layout = picture.layout()
    drawn = np.asarray(picture.draw())
    assert layout.factor == factor
    assert 600 <= layout.width <= 900
    assert drawn.shape[:2] == (layout.height, layout.width)
    x, y = layout.corners[-1]
    last = drawn[y : y + factor * shape[1], x : x + factor * shape[2]].reshape(
        factor * shape[1], factor * shape[2], -1
    )
    assert np.array_equal(last[::factor, ::factor], images[-1].permute(1, 2, 0))
    assert np.array_equal(last, last[::factor, ::factor].repeat(factor, 0).repeat(factor, 1))


def test_texts_lie_inside_a_grid_and_do_not_overlap():
    """A long title is broken into lines; names that are wider than their columns stand upright."""
    names = ["aquarium fish", "a class whose name is much too long for any picture"] * 10
    layout = Grid(torch.rand(20, 3, 32, 32), 20, "A long title " * 20, names, ["x" * 90]).layout("heading")
    picture = Grid(torch.rand(20, 3, 32, 32), 20, "A long title " * 20, names, ["x" * 90])
    drawn = np.asarray(picture.draw("heading"))
    assert (drawn[:, -4:] == 255).all()
    assert (drawn[:, :4] == 255).all()
    assert all(text.upright for text in layout.texts if text.text.startswith("a"))
    baselines = sorted({text.y for text in layout.texts if text.anchor == "la"})
    assert len(baselines) > 2
    assert all(later - earlier > 15 for earlier, later in pairwise(baselines))


@pytest.mark.parametrize("grey", range(0, 256, 15))
def test_images_of_any_one_grey_can_be_told_apart_in_a_grid(grey):
    grid = Grid(torch.full((2, 1, 40, 40), grey, dtype=torch.uint8), 2)
    (left, top), (right, _) = grid.layout().corners
    factor = grid.layout().factor
    between = np.asarray(grid.draw()).astype(int)[top, left + factor * 40 : right]
    assert abs(between - grey).max() >= 50  # of 255
    assert len(between) >= 4  # a thinner line drowns in images of noise


def test_rows_of_points_become_sets_with_the_names_of_the_rows():
    points = torch.rand(6, 1, 1, 2)
    chart = Grid(points, 2, "Samples", row_names=["real", "made", "real"]).as_points()
    assert torch.equal(chart.sets["real"], points[[0, 1, 4, 5]].flatten(1))
    assert torch.equal(chart.sets["made"], points[2:4].flatten(1))


def test_charts_are_as_wide_as_grids_and_have_no_text_that_is_cut():
    """Nothing but white at the edges, whatever the length of title and names."""
    long = "A title with many words that does not fit into one line of the picture, because it goes on"
    field = Points({"generated": torch.rand(9, 2)}, long, torch.rand(9, 2), torch.randn(5, 5))
    names = ["a class with a very long name", *"bcdefghijklmnopqrst"]
    codes = Scatter(torch.rand(400, 2), long, ("first", "second"), torch.arange(400) % 20, names)
    for chart in (field, codes, Bars(torch.rand(64), [f"z{i}" for i in range(64)], long, "dimension", "nats")):
        drawn = np.asarray(chart.draw(long))
        assert 600 <= drawn.shape[1] <= 900
        for edge in (drawn[:3], drawn[-3:], drawn[:, :3], drawn[:, -3:]):
            assert (edge == 255).all()


def test_paths_on_the_sphere_keep_the_norm_and_turn_at_a_constant_rate():
    start, end = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0)).double()
    end = end * start.norm(dim=1, keepdim=True) / end.norm(dim=1, keepdim=True)
    path = along_sphere(start, end, 9)
    torch.testing.assert_close(path.norm(dim=2), start.norm(dim=1, keepdim=True).expand(5, 9))
    unit = path / path.norm(dim=2, keepdim=True)
    angles = (unit[:, 1:] * unit[:, :-1]).sum(dim=2).acos()
    torch.testing.assert_close(angles, angles.mean(dim=1, keepdim=True).expand(5, 8))
    torch.testing.assert_close(path[:, -1], end)
    for other in (start, -start, 2 * start):  # no angle to turn by
        torch.testing.assert_close(along_sphere(start, other, 5), along_line(start, other, 5))


def test_an_animation_shows_the_pictures_of_all_steps_in_order(tmp_path):
    """Grey levels rise with the step; a picture of another size, of an earlier version, is left out."""
    assert animate(tmp_path) is None
    Image.new("L", (40, 40)).save(tmp_path / "step_00000000.png")
    for step in range(1, 6):
        Image.new("L", (64, 48), 40 * step).save(tmp_path / f"step_{100 * step:08d}.png")
    made = Image.open(animate(tmp_path))
    assert (made.size, made.n_frames, made.info["loop"]) == ((64, 48), 5, 0)
    for frame in range(5):
        made.seek(frame)
        assert made.convert("L").getpixel((5, 5)) == pytest.approx(40 * (frame + 1), abs=4)


def test_an_animation_leaves_frames_out_until_it_is_small_enough(tmp_path, monkeypatch):
    """The frames that a first try keeps are the large ones: they have noise, the others are black."""
    noise = np.random.default_rng(0)
    for step in range(9):
        pixels = noise.integers(256, size=(64, 64), dtype=np.uint8) if step % 2 == 0 else np.zeros((64, 64), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"step_{step:08d}.png")
    whole = animate(tmp_path).stat().st_size
    most = int(0.65 * whole)
    monkeypatch.setattr("lightning_gen.pictures.animation.MOST_BYTES", most)
    made = animate(tmp_path)
    assert made.stat().st_size <= most
    assert 2 <= Image.open(made).n_frames < 5


def test_frames_are_left_out_evenly():
    frames = spread([*range(1000)], MOST_FRAMES)
    assert (len(frames), frames[0], frames[-1]) == (60, 0, 999)
    assert {later - earlier for earlier, later in pairwise(frames)} == {16, 17}
