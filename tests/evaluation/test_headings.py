"""The line of a picture that says which model it is of."""

import pytest

from lightning_gen.evaluation.headings import heading


class VAEGAN:
    num_classes = 0


class GAN:
    num_classes = 10


METRICS = {"eval/fid_classifier_floor": 0.1, "eval/fid_classifier": 1.911, "eval/reconstruction_mse": 0.01234}
MODES = {"eval/modes_found": 7.0, "eval/modes_lost": 1.0, "eval/good_samples": 0.974, "eval/energy_distance": 0.01}


@pytest.mark.parametrize(
    ("model", "data", "step", "metrics", "of", "expected"),
    [
        (VAEGAN(), "mnist", 3000, METRICS, "samples", "VAE/GAN on MNIST, step 3,000, FID (classifier features) 1.91"),
        (VAEGAN(), "mnist", 0, METRICS, "reconstructions", "before the first step, squared error per pixel 0.0123"),
        (GAN(), "a/folder", 1, {"eval/fid": 14.3}, "neighbours", "Conditional GAN on folder, step 1, FID 14.3"),
        (
            GAN(),
            "gaussians",
            1,
            MODES,
            "field",
            "points in the plane, step 1, 7 of 8 modes found, 97.4% good samples",
        ),
        (VAEGAN(), "table", 9, {"eval/marginals": 0.0512}, "marginals", "step 9, mean distance 0.0512"),
        (GAN(), "mnist", None, METRICS, "latents", "Conditional GAN on MNIST"),
        (GAN(), "mnist", 1, {"eval/fid": float("nan")}, "samples", "Conditional GAN on MNIST, step 1"),
    ],
)
def test_a_heading_has_model_data_step_and_the_number_of_what_is_shown(model, data, step, metrics, of, expected):
    assert heading(model, data, step, metrics, of).endswith(expected)
