"""Lesson 7: copies of training images are found, and no model copies."""

from tests.lessons.helpers import run_quickly


def test_copies_are_found_and_models_do_not_copy():
    numbers, figures = run_quickly("07_replay")
    for size in (100, 300):
        copies = {what: value for what, value in numbers.items() if what.startswith(f"copies, {size} images")}
        authentic, ratio, to_train, to_test, unexplained = copies.values()
        assert authentic[0] < 2 < 30 < authentic[1]  # and of held-out images
        assert ratio[0] < 0.3
        assert unexplained[0] < 0.1 * unexplained[1]
        assert to_train[0] < to_test[0]
        for name in ("AE", "VAE", "GAN", "mixture"):
            assert numbers[f"{name}, {size} images: authentic, %"][0] > 50
            assert numbers[f"{name}, {size} images: distance to the nearest, relative"][0] > 1
    assert set(figures) == {"curves", "pairs"}
