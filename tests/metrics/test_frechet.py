"""The Frechet distance against closed forms, scipy and torchmetrics."""

import numpy as np
import pytest
import scipy.linalg
import torch

from lightning_gen.metrics.frechet import Moments, frechet_distance


def features(n, d, seed, scale=1.0, shift=0.0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) * scale + shift


def gaussian(mean, covariance):
    return Moments.from_statistics(torch.as_tensor(mean), torch.as_tensor(covariance), 1000)


def test_gaussians_with_known_parameters():
    # Commuting covariances: |mu_a - mu_b|^2 + sum (sqrt(a) - sqrt(b))^2 = 9 + 16 + (1-2)^2 + (3-1)^2 = 30.
    a = gaussian([0.0, 0.0], [[1.0, 0.0], [0.0, 9.0]])
    b = gaussian([3.0, 4.0], [[4.0, 0.0], [0.0, 1.0]])
    assert frechet_distance(a, b) == pytest.approx(30.0, rel=1e-12)
    assert frechet_distance(b, a) == pytest.approx(30.0, rel=1e-12)


def test_rank_deficient_gaussians():
    # Point mass against a line: tr S = 5. Two orthogonal lines: tr S_a + tr S_b = 2 + 3.
    line = gaussian([0.0, 0.0, 0.0], torch.diag(torch.tensor([5.0, 0.0, 0.0])))
    point = gaussian([0.0, 0.0, 0.0], torch.zeros(3, 3))
    assert frechet_distance(line, point) == pytest.approx(5.0, rel=1e-12)
    assert frechet_distance(point, point) == 0.0
    a = gaussian([0.0, 0.0], [[2.0, 0.0], [0.0, 0.0]])
    b = gaussian([0.0, 0.0], [[0.0, 0.0], [0.0, 3.0]])
    assert frechet_distance(a, b) == pytest.approx(5.0, rel=1e-12)


@pytest.mark.parametrize(("n", "d"), [(500, 16), (20, 64), (2, 64)])
def test_identical_sets_are_at_distance_zero(n, d):
    x = features(n, d, 0, shift=3.0)
    trace = Moments.of(x).covariance.trace().item()
    for other in (x, x.flip(0)):
        assert 0 <= frechet_distance(Moments.of(x), Moments.of(other)) < 1e-12 * trace


@pytest.mark.parametrize(("n", "d"), [(400, 24), (40, 64)])
def test_equals_the_square_root_of_the_product(n, d):
    a, b = features(n, d, 0), features(n, d, 1, 1.5, 0.3) @ features(d, d, 2)
    sa, sb = np.cov(a.double().numpy().T), np.cov(b.double().numpy().T)
    shift = ((a.double().mean(0) - b.double().mean(0)) ** 2).sum().item()
    # The root of a rank-deficient product is ill-conditioned; the nuclear norm on the n x n side is not.
    ca = (a.double() - a.double().mean(0)).numpy() / np.sqrt(n - 1)
    cb = (b.double() - b.double().mean(0)).numpy() / np.sqrt(n - 1)
    expected = shift + np.trace(sa) + np.trace(sb) - 2 * scipy.linalg.svdvals(ca @ cb.T).sum()
    assert frechet_distance(Moments.of(a), Moments.of(b)) == pytest.approx(expected, rel=1e-10)
    if n > d:
        root = scipy.linalg.sqrtm(sa @ sb).real
        assert expected == pytest.approx(shift + np.trace(sa + sb - 2 * root), rel=1e-8)


def test_equals_torchmetrics():
    from torchmetrics.image.fid import _compute_fid

    a, b = features(500, 32, 0), features(500, 32, 1, 1.2, 0.1)
    ma, mb = Moments.of(a), Moments.of(b)
    theirs = _compute_fid(ma.mean, ma.covariance, mb.mean, mb.covariance).item()
    assert frechet_distance(ma, mb) == pytest.approx(theirs, rel=1e-9)


def test_batches_and_merging_give_the_same_moments():
    x = features(100, 8, 0, shift=5.0)
    whole, parts = Moments.of(x), Moments.empty(8)
    for part in x[:70].split(33):
        parts.update(part)
    parts.merge(Moments.of(x[70:]))
    assert parts.n == whole.n == 100
    torch.testing.assert_close(parts.mean, x.double().mean(0), rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(parts.covariance, torch.cov(x.double().T), rtol=1e-11, atol=1e-11)


def test_the_kept_root_follows_an_update():
    moments = Moments.of(features(50, 4, 0))
    target = Moments.of(features(50, 4, 1, shift=9.0))
    far = frechet_distance(moments, target)
    moments.update(features(5000, 4, 2, shift=9.0))
    assert frechet_distance(moments, target) < far / 10


def test_moments_survive_a_file_in_pytorch_fid_layout(tmp_path):
    moments = Moments.of(features(50, 4, 0, shift=2.0))
    moments.save(tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        assert sorted(arrays) == ["mu", "n", "sigma"]
    loaded = Moments.load(tmp_path / "a.npz")
    assert loaded.n == 50
    assert frechet_distance(loaded, moments) < 1e-12
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_errors():
    one = Moments.of(features(1, 4, 0))
    with pytest.raises(ValueError, match="at least 2"):
        frechet_distance(one, one)
    bad = Moments.of(torch.full((5, 4), float("nan")))
    with pytest.raises(ValueError, match="not finite"):
        frechet_distance(bad, bad)
    with pytest.raises(ValueError, match="lengths"):
        frechet_distance(Moments.of(features(9, 4, 0)), Moments.of(features(9, 5, 0)))
