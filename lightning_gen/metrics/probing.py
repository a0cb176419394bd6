"""How useful codes are: simple classifiers and clusters on them, with principal components for comparison."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lightning_gen.errors import UserError
from lightning_gen.pictures import to_float

CHUNK = 4096
EXACT_ROWS = 256  # of products of whole numbers up to 255, float32 adds so many exactly: 256 * 255**2 < 2**24


class PCA:
    """The first k principal components of images [N, C, H, W], uint8 or float in [0, 1], as numbers in [0, 1].

    `variances` [D] are those along all components, from the largest to the smallest. The moments of uint8 images are
    sums of whole numbers, and exact.
    """

    def __init__(self, images: Tensor, k: int) -> None:
        size = images[0].numel()
        if not 1 <= k <= size:
            raise ValueError(f"cannot find {k} principal components of images of {size} values")
        sums, products = torch.zeros(size).double(), torch.zeros(size, size).double()
        kind, white = (torch.float, 255) if images.dtype == torch.uint8 else (torch.double, 1)
        for part in images.split(EXACT_ROWS):
            rows = part.cpu().flatten(1).to(kind)
            sums += rows.sum(dim=0)
            products += rows.T @ rows
        self.mean = sums / len(images) / white
        covariance = products / len(images) / white**2 - torch.outer(self.mean, self.mean)
        values, vectors = torch.linalg.eigh(covariance)
        self.components = vectors[:, -k:].flip(1)  # [D, k]
        self.variances = values.clamp_min(0).flip(0)

    def encode(self, images: Tensor) -> Tensor:
        """Codes float32 [N, k] of uint8 images."""
        return torch.cat([self._codes(part).float() for part in images.split(CHUNK)])

    def squared_error(self, images: Tensor) -> float:
        """Squared error of the reconstructions, summed over pixels and averaged over images.

        On the images it was fitted to, this is the best that a linear autoencoder of this width can do (Baldi &
        Hornik 1989): the number that an autoencoder must beat.
        """
        total = 0.0
        for part in images.split(CHUNK):
            centred = to_float(part.cpu()).flatten(1).double() - self.mean
            total += float(centred.square().sum() - self._codes(part).square().sum())
        return total / len(images)

    def _codes(self, images: Tensor) -> Tensor:
        return (to_float(images.cpu()).flatten(1).double() - self.mean) @ self.components


def probe(train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, standardize: bool = True) -> dict:
    """Accuracy of logistic regression and of nearest neighbours (scikit-learn) on held-out codes.

    Args:
        train: codes float [N, d]. train_labels: int64 [N]. test: codes float [M, d]. test_labels: int64 [M].
        standardize: give each code unit variance for the logistic regression, which helps it converge; the distance
        to
            neighbours is the Euclidean distance of the codes as they are.

    Raises:
        UserError: fewer than five training codes, or of a single class.

    Returns:
        ``logistic_regression``, ``nearest_neighbour``, ``5_nearest_neighbours``, each in [0, 1].
    """
    if len(train) < 5 or len(train_labels.unique()) < 2:
        raise UserError(
            f"A probe learns from 5 or more labelled codes of 2 or more classes; there are {len(train)} of "
            f"{len(train_labels.unique())}: use more of them, or another dataset.classes."
        )
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier

    x, y = train.float().cpu().numpy(), train_labels.cpu().numpy()
    x_test, y_test = test.float().cpu().numpy(), test_labels.cpu().numpy()
    scale = np.maximum(x.std(axis=0), 1e-6) if standardize else np.ones(x.shape[1], np.float32)
    linear = LogisticRegression(max_iter=300).fit((x - x.mean(axis=0)) / scale, y)
    result = {"logistic_regression": float(linear.score((x_test - x.mean(axis=0)) / scale, y_test))}
    neighbours = KNeighborsClassifier(5, algorithm="brute").fit(x, y).kneighbors(x_test, return_distance=False)
    votes = torch.nn.functional.one_hot(torch.from_numpy(y[neighbours])).cumsum(1)  # [M, 5, K]
    nearest_first = votes * 10 + votes[:, :1]  # a tie goes to the nearest
    for k, name in ((1, "nearest_neighbour"), (5, "5_nearest_neighbours")):
        result[name] = float((nearest_first[:, k - 1].argmax(1).numpy() == y_test).mean())
    return result


def cluster_quality(codes: Tensor, labels: Tensor, num_classes: int, seed: int = 0) -> dict[str, float]:
    """How well k-means clusters of codes [N, d], one per class, agree with labels int64 [N].

    Returns:
        ``kmeans_accuracy``: for the best one-to-one matching of clusters and classes (Xie et al. 2016, eq. 10);
        ``kmeans_nmi``: normalized mutual information, arithmetic mean. Both in [0, 1].

    Raises:
        UserError: fewer codes than classes.
    """
    if len(codes) < num_classes:
        raise UserError(f"{len(codes)} codes cannot form {num_classes} clusters, one per class: use more test data.")
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans
    from sklearn.metrics import normalized_mutual_info_score

    x, y = codes.float().cpu().numpy(), labels.cpu().numpy()
    clusters = KMeans(num_classes, n_init=4, random_state=seed).fit_predict(x)
    counts = np.zeros((num_classes, num_classes), dtype=int)
    np.add.at(counts, (clusters, y), 1)
    rows, columns = linear_sum_assignment(-counts)
    return {
        "kmeans_accuracy": float(counts[rows, columns].sum() / len(y)),
        "kmeans_nmi": float(normalized_mutual_info_score(y, clusters)),
    }
