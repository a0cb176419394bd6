"""Principal components, probes and clusters on data whose answers are known."""

import pytest
import torch

from lightning_gen.errors import UserError
from lightning_gen.metrics.make_weights import load_split
from lightning_gen.metrics.probing import PCA, cluster_quality, probe


def blobs(spread, seed=0):
    """Three classes of 2-D points around the corners of a triangle of side 1."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(300) % 3
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.87]])
    return corners[labels] + spread * torch.randn(300, 2, generator=generator), labels


def test_pca_agrees_with_scikit_learn(digits):
    from sklearn.decomposition import PCA as Reference

    train, test = digits[0][0], digits[1][0]
    flat, held_out = (x.flatten(1).double().numpy() / 255 for x in (train, test))
    reference = Reference(5).fit(flat)
    error = ((reference.inverse_transform(reference.transform(held_out)) - held_out) ** 2).sum(1).mean()
    ours = PCA(train, 5)
    torch.testing.assert_close(ours.mean, torch.from_numpy(reference.mean_), rtol=1e-12, atol=1e-12)
    assert PCA(train / 255, 5).squared_error(test / 255) == pytest.approx(error, rel=1e-6)  # float images too
    assert ours.squared_error(test) == pytest.approx(error, rel=1e-6)
    expected = torch.from_numpy(reference.transform(held_out)).abs().float()
    torch.testing.assert_close(ours.encode(test).abs(), expected, rtol=1e-4, atol=1e-4)
    assert PCA(train, 64).squared_error(test) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match="65 principal components"):
        PCA(train, 65)


@pytest.mark.data
def test_pca_of_30_on_mnist_is_the_published_number(data_root):
    train, test = (load_split("mnist", str(data_root), train=part)[0] for part in (True, False))
    assert PCA(train, 30).squared_error(test) == pytest.approx(13.87, abs=0.005)  # Hinton & Salakhutdinov 2006


def test_probe_and_clusters_of_separate_classes_are_perfect_and_of_noise_are_chance():
    codes, labels = blobs(0.05)
    held_out, _ = blobs(0.05, seed=1)
    assert set(probe(codes, labels, held_out, labels).values()) == {1.0}
    assert cluster_quality(codes, labels, 3) == {"kmeans_accuracy": 1.0, "kmeans_nmi": pytest.approx(1.0)}
    assert cluster_quality(codes, (labels + 1) % 3, 3)["kmeans_accuracy"] == 1.0  # names of clusters do not matter
    noise = torch.randn(300, 2, generator=torch.Generator().manual_seed(2))
    assert probe(noise, labels, torch.flip(noise, [1]), labels)["logistic_regression"] < 0.45
    assert cluster_quality(noise, labels, 3)["kmeans_nmi"] < 0.05


def test_a_tie_among_five_neighbours_goes_to_the_nearest():
    train = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    labels = torch.tensor([1, 0, 0, 1, 2])
    result = probe(train, labels, torch.tensor([[0.0]]), torch.tensor([1]))
    assert result["nearest_neighbour"] == result["5_nearest_neighbours"] == 1.0


def test_too_few_images_or_classes_are_told():
    codes, labels = torch.rand(6, 2), torch.zeros(6, dtype=torch.long)
    with pytest.raises(UserError, match="there are 6 of 1: use more of them"):
        probe(codes, labels, codes, labels)
    with pytest.raises(UserError, match="there are 4 of 2"):
        probe(codes[:4], torch.arange(4) % 2, codes, labels)
    with pytest.raises(UserError, match="6 codes cannot form 7 clusters"):
        cluster_quality(codes, labels, 7)
