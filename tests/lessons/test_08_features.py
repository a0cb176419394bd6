from tests.lessons.helpers import run_quickly


def test_codes_are_features():
    numbers, figures = run_quickly("08_features")
    measured = {what: value for what, (value, _) in numbers.items()}
    # Few labels: an encoder that has seen all images without labels is better than one that starts from nothing
    tuned, scratch = (measured[f"{name}, 2 labels a class, %"] for name in ("codes, fine-tuned", "from scratch"))
    assert tuned > scratch
    # More labels are better for every classifier
    for name in ("pixels", "PCA-32", "codes, frozen", "codes, fine-tuned", "from scratch"):
        assert measured[f"{name}, 20 labels a class, %"] > measured[f"{name}, 2 labels a class, %"] > 10
    # Clusters of the digits without a label, where chance is 10 %
    assert measured["codes of two numbers, images in the cluster of their class, %"] > 30
    assert set(figures) == {"few_labels", "clusters"}
