import torch

from lightning_gen.training.callbacks.histograms import BINS, histogram


def test_weights_that_hardly_differ_have_a_histogram():
    """Such as scales of a batch norm after one step: float32 has no 64 numbers between them."""
    values = torch.ones(100)
    values[:30] = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0))
    counts, edges = histogram(values)
    assert (len(counts), len(edges)) == (BINS, BINS + 1)
    assert (counts[0], counts[-1], counts.sum()) == (30, 70, 100)


def test_what_is_not_finite_is_left_out():
    counts, _ = histogram(torch.tensor([0.0, 1.0, float("nan"), float("inf")]))
    assert counts.sum() == 2
    assert histogram(torch.full((3,), float("nan")))[0].sum() == 0
