import pytest

from lightning_gen.data.words import unit_of, worded


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("12 images/s", "12 rows/s"),
        ("summed over the pixels of an image", "summed over the values of a row"),
        ("Images of 28x28; per pixel", "Rows of 28x28; per value"),
        ("images_seen, model=image_folder, imaged", "images_seen, model=image_folder, imaged"),
        ("evaluation.nll.images, --images 5, images=5", "evaluation.nll.images, --images 5, images=5"),
        ("Nats an image. The images.", "Nats a row. The rows."),
    ],
)
def test_texts_about_images_become_texts_about_rows(text, said):
    assert worded(text, "rows") == said
    assert worded(text, "images") == text


def test_the_shape_of_data_says_what_is_counted():
    assert unit_of((1, 28, 28), False) == "images"
    assert unit_of((1, 1, 2), False) == "points"
    assert unit_of((1, 1, 2), True) == "rows"  # a table of two columns
