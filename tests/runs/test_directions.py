"""Which value of a metric is better, and what is said where none is known to be."""

import pytest

from lightning_gen.errors import UserError
from lightning_gen.runs.directions import chooser, direction, mode_of


def test_which_end_is_better():
    assert (
        direction("fid_classifier")
        is direction("kid")
        is direction("reconstruction_mse")
        is direction("lpips")
        is min
    )
    assert direction("coverage") is direction("psnr") is direction("elbo") is direction("dci_completeness") is max
    assert direction("auth_pct") is direction("nearest_train_ratio") is direction("data_copying") is None
    assert direction("kl") is direction("kl_max") is direction("tstr_real") is None
    assert direction("tstr") is direction("bound") is max
    assert direction("squared_error_pca") is direction("nll_simulated_gap") is None


def test_the_ends_of_an_interval_have_no_best_value():
    assert chooser("eval/c2st")([0.3, 0.55, 0.9]) == 0.55
    assert chooser("eval/c2st_low") is chooser("eval/c2st_high") is chooser("eval/c2st_p") is None


def test_a_metric_with_a_best_value_has_no_direction():
    told = r"checkpoint\.monitor=eval/c2st: it is best at 0\.5.*or decide with checkpoint\.mode=min or"
    with pytest.raises(UserError, match=told):
        mode_of("eval/c2st", "checkpoint.monitor=eval/c2st", "checkpoint.mode={}")
    told = r"sweep\.metrics=\[eval/auth_pct\]: set sweep\.modes=\[min\] or sweep\.modes=\[max\]; which is better"
    with pytest.raises(UserError, match=told):
        mode_of("eval/auth_pct", "sweep.metrics=[eval/auth_pct]", "sweep.modes=[{}]")
