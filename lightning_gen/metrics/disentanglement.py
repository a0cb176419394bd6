"""Does each latent variable represent one factor of variation? Scores for codes of images with known factors.

Codes are float [N, D] (posterior means), factors int64 [N, K]. Codes that equal the factors, one in each dimension,
get 1 in every score.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import torch
from torch import Tensor


def disentanglement(
    codes: Tensor, factors: Tensor, categorical: Collection[int] = (), seed: int = 0
) -> dict[str, float]:
    """All scores; empty for codes of one dimension.

    Args:
        codes: float [N, D], posterior means or the codes of an autoencoder.
        factors: int64 [N, K], of the same images.
        categorical: which factors have no order.
        seed: for the halves of the images, the random forests and the votes.

    Returns:
        ``mig``, ``sap``, ``factor_vae_score`` (chance: 1/K) and the three of ``dci``.
    """
    if codes.shape[1] < 2:
        return {}
    return {
        "mig": mutual_information_gap(codes, factors),
        "sap": sap(codes, factors, categorical),
        "factor_vae_score": factor_vae_score(codes, factors, seed=seed),
        **dci(codes, factors, seed=seed),
    }


def mutual_information_gap(codes: Tensor, factors: Tensor, bins: int = 20) -> float:
    """MIG: the gap in mutual information between the two codes most informative about a factor, over its entropy.

    Chen et al. 2018, "Isolating sources of disentanglement in VAEs", eq. 6; mutual information from histograms of
    equal width, as in Locatello et al. 2019.

    Args:
        codes: float [N, D], at least two dimensions.
        factors: int64 [N, K].
        bins: of the histogram of each code.

    Returns:
        The mean over factors, in [0, 1].
    """
    _check(codes, factors)
    low, high = codes.amin(0), codes.amax(0)
    binned = ((codes - low) / (high - low).clamp_min(1e-12) * bins).long().clamp(0, bins - 1)
    gaps = []
    for factor in factors.T:
        information = torch.stack([_mutual_information(code, factor) for code in binned.T])
        first, second = information.topk(2).values
        gaps.append((first - second) / _mutual_information(factor, factor).clamp_min(1e-12))
    return float(torch.stack(gaps).mean())


def dci(codes: Tensor, factors: Tensor, *, seed: int = 0, trees: int = 20) -> dict[str, float]:
    """DCI: disentanglement, completeness and informativeness, from how important each code is for each factor.

    Eastwood & Williams 2018, "A framework for the quantitative evaluation of disentangled representations", with
    random forests; half of the images train, the other half test.

    Args:
        codes: float [N, D].
        factors: int64 [N, K].
        seed: for the halves and the forests; no global generator is touched.
        trees: in each forest.

    Returns:
        ``dci_disentanglement`` and ``dci_completeness`` in [0, 1], and ``dci_informativeness``, the accuracy in
        predicting factors, 0 at chance (balanced) and 1 at best.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import balanced_accuracy_score

    _check(codes, factors)
    order = torch.randperm(len(codes), generator=torch.Generator().manual_seed(seed)).numpy()
    x, y = codes.cpu().double().numpy()[order], factors.cpu().numpy()[order]
    half = len(x) // 2
    importance, informativeness = [], []
    for k in range(y.shape[1]):
        forest = RandomForestClassifier(trees, max_features=None, min_samples_leaf=4, random_state=seed)
        forest.fit(x[:half], y[:half, k])
        importance.append(forest.feature_importances_)
        informativeness.append(balanced_accuracy_score(y[half:, k], forest.predict(x[half:]), adjusted=True))
    matrix = np.stack(importance, 1)  # [D, K]
    share = matrix.sum(1) / max(matrix.sum(), 1e-12)
    return {
        "dci_disentanglement": float((share * _certainty(matrix)).sum()),
        "dci_completeness": float(_certainty(matrix.T).mean()),
        "dci_informativeness": float(np.mean(informativeness)),
    }


def sap(codes: Tensor, factors: Tensor, categorical: Collection[int] = ()) -> float:
    """SAP: the gap in score between the two single codes that predict a factor best.

    Kumar et al. 2018, "Variational inference of disentangled latent concepts", sec. 3: R^2 of a line for ordered
    factors; for categorical ones the accuracy of thresholds, here from 0 at chance to 1.

    Args:
        codes: float [N, D], at least two dimensions.
        factors: int64 [N, K].
        categorical: which factors have no order.

    Returns:
        The mean over factors, in [0, 1].
    """
    _check(codes, factors)
    gaps = []
    for k, factor in enumerate(factors.T):
        score = _threshold_scores(codes, factor) if k in categorical else _squared_correlations(codes, factor)
        first, second = score.topk(2).values
        gaps.append(first - second)
    return float(torch.stack(gaps).mean())


def factor_vae_score(codes: Tensor, factors: Tensor, *, votes: int = 800, batch: int = 64, seed: int = 0) -> float:
    """The FactorVAE score: how often the code that varies least tells which factor was held fixed.

    Kim & Mnih 2018, "Disentangling by factorising", sec. 4: a majority vote over (least varying code, fixed
    factor), counted on one set of votes and tested on another of the same size. Chance is 1/K.

    Args:
        codes: float [N, D].
        factors: int64 [N, K].
        votes: in each of the two sets.
        batch: images per vote, which share the value of the fixed factor.
        seed: draws the votes; the global generator is not touched.

    Returns:
        The accuracy, in [0, 1].
    """
    _check(codes, factors)
    spread = codes.double().std(0)
    active = (spread > 1e-6 * spread.max()).nonzero()[:, 0]  # without collapsed codes, which would always vary least
    scaled = codes.double()[:, active] / spread[active]
    generator = torch.Generator().manual_seed(seed)
    num_factors = factors.shape[1]
    fixed = torch.randint(num_factors, (2 * votes,), generator=generator)
    table = torch.zeros(2, len(active), num_factors, dtype=torch.long)
    for vote, factor in enumerate(fixed.tolist()):
        column = factors[:, factor]
        value = column[torch.randint(len(column), (1,), generator=generator).to(column.device)]
        same = (column == value).nonzero()[:, 0]
        pick = same[torch.randint(len(same), (batch,), generator=generator).to(same.device)]
        table[vote // votes, scaled[pick].var(0).argmin(), factor] += 1
    guess = table[0].argmax(1)
    return float(table[1].gather(1, guess[:, None]).sum()) / votes


def _check(codes: Tensor, factors: Tensor) -> None:
    if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors) or codes.shape[1] < 2:
        raise ValueError(
            f"expected codes [N, D >= 2] and factors [N, K], got {list(codes.shape)}, {list(factors.shape)}"
        )


def _mutual_information(a: Tensor, b: Tensor) -> Tensor:
    """Mutual information of two integer variables [N], in nats."""
    width = int(b.max()) + 1
    joint = torch.bincount(a * width + b, minlength=(int(a.max()) + 1) * width).view(-1, width).double() / len(a)
    independent = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    return torch.where(joint > 0, joint * (joint / independent).log(), 0.0).sum()


def _certainty(matrix: np.ndarray) -> np.ndarray:
    """1 minus the entropy of each row of [A, B], with logarithms to base B."""
    rows = matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-12)
    logs = np.log(rows, out=np.zeros_like(rows), where=rows > 0)
    return 1 + (rows * logs).sum(1) / np.log(matrix.shape[1])


def _squared_correlations(codes: Tensor, factor: Tensor) -> Tensor:
    x = codes.double() - codes.double().mean(0)
    y = factor.double() - factor.double().mean()
    return (x * y[:, None]).sum(0).square() / (x.square().sum(0) * y.square().sum()).clamp_min(1e-12)


def _threshold_scores(codes: Tensor, factor: Tensor) -> Tensor:
    from sklearn.metrics import balanced_accuracy_score
    from sklearn.tree import DecisionTreeClassifier

    y = factor.cpu().numpy()
    classes = len(np.unique(y))
    scores = []
    for code in codes.cpu().double().T.numpy():
        tree = DecisionTreeClassifier(max_leaf_nodes=classes, class_weight="balanced", random_state=0)
        predicted = tree.fit(code[:, None], y).predict(code[:, None])
        scores.append(balanced_accuracy_score(y, predicted, adjusted=True))
    return torch.tensor(scores, dtype=torch.float64)
