"""Densities of codes that are fitted after training."""

import torch
from threadpoolctl import threadpool_info, threadpool_limits

from lightning_gen.models.latent_density import GaussianMixture, threads_for


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_small_matrices_are_left_to_one_thread_and_large_ones_are_not():
    with threadpool_limits(2, user_api="blas"):  # tests run with one
        with threads_for(32):
            assert blas_threads() == {1}
        with threads_for(1000):
            assert blas_threads() == {2}
        assert blas_threads() == {2}


def test_a_mixture_finds_the_clusters_of_codes():
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[-4.0, 0.0], [4.0, 0.0], [0.0, 6.0]])
    labels = torch.arange(3).repeat_interleave(torch.tensor([100, 200, 300]))
    mixture = GaussianMixture(2, 3)
    mixture.fit(centres[labels] + 0.1 * torch.randn(600, 2, generator=generator))
    order = mixture.means[:, 0].argsort()
    torch.testing.assert_close(mixture.means[order], centres[[0, 2, 1]], atol=0.03, rtol=0)
    torch.testing.assert_close(mixture.weights[order], torch.tensor([1 / 6, 1 / 2, 1 / 3]), atol=1e-3, rtol=0)
