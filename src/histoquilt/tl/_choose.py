"""Number of domains by stability: the largest number of domains that sub-samples of the spots reproduce."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.cluster.hierarchy import cut_tree, linkage
from sklearn.cluster import KMeans

from histoquilt._base import Keys
from histoquilt.cluster import fit_shared_covariance, start_moments, whitened, whitening
from histoquilt.runtime import logger, warn_user
from histoquilt.study import check_adata, provenance
from histoquilt.tl._cluster import checked_embedding

_MOST_SPOTS = 3750  # looked at: with ever more spots any number of domains would come back
_START_SPOTS = 600  # a start is made from so many
_N_STARTS = 12
_SHORT_RUN = 12  # EM iterations after which a start shows what it is worth
_FINALISTS = 3
_STABLE = 0.8  # prediction strength from which the weakest domain counts as found again (Tibshirani and Walther)


def choose_n_domains(
    adata: AnnData,
    *,
    use_rep: str | Sequence[str] = Keys.EMBEDDING,
    n_domains: tuple[int, int] = (2, 15),
    n_subsamples: int = 10,
    share: float = 0.8,
    n_components: int = 10,
    key_added: str = "n_domains_curve",
    seed: int = 0,
) -> int:
    """Choose the number of domains by stability: the largest number whose domains are all reproduced.

    For every number of domains the mixture of :func:`cluster_mixture` is fitted to the same random sub-samples of the
    spots. Pairs of fits are compared on the spots that they share. A number is stable if its weakest domain has a
    prediction strength of at least 0.8: that share of the pairs of spots in the domain stay together in the other fit,
    in the mean over pairs of fits or within one standard error of it (Tibshirani and Walther). The largest stable
    number is chosen.

    Not the most stable number: merging neighbouring domains does not reduce stability, so its maximum is mostly at two
    or three (von Luxburg; Mourer et al.), while surplus domains are cut differently in every sample. Not the adjusted
    Rand index: one arbitrary domain among many hardly changes it. Unlike a maximum, the result does not depend on the
    range searched. It describes this embedding; the anatomy may have fewer or more domains.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; ``obsm[use_rep]`` holds the embedding.
    use_rep
        Key of the embedding, or of several made with different seeds. Fits alternate between them, and only fits to
        different ones are compared, so that the stability of the model is included. Meant for reconstructions, which
        differ little between seeds; the latent spaces of two networks can differ so much that only two domains are
        reproduced.
    n_domains
        Smallest and largest number to try.
    n_subsamples
        Number of sub-samples, and of fits for each number of domains.
    share
        Share of the spots in a sub-sample. Of larger tissue 3,750 random spots are used, because every number becomes
        stable with more and more spots.
    n_components
        Number of principal components of the embedding to cluster in.
    key_added
        Key in ``uns`` of the curve.
    seed
        Random seed of the sub-samples and starts.

    Returns
    -------
    The number chosen; where none is stable, the most stable one, with a warning. Adds to ``adata``:

    ``uns["histoquilt"][key_added]`` : DataFrame with the columns ``n_domains``, ``stability`` and ``sd`` (adjusted
    Rand index over pairs of fits, mean and standard deviation; 0 for a pair in which a domain is missing),
    ``weakest`` and ``weakest_sd`` (prediction strength of the weakest domain, likewise), ``stable`` (whether it passes)

    Raises
    ------
    KeyError
        An embedding is missing.
    ValueError
        The range is not two whole numbers from 2 up, there are too few spots for it, ``share`` is not between 0.5
        and 1, there are fewer than 3 sub-samples or fewer than embeddings, or an embedding is not finite.

    Warns
    -----
    UserWarning
        No number is stable: the embedding has no domains that can be distinguished reliably.

    References
    ----------
    Ben-Hur, Elisseeff, Guyon. Pacific Symposium on Biocomputing 7: 6-17, 2002 (fits to sub-samples).
    Tibshirani, Walther. Journal of Computational and Graphical Statistics 14(3): 511-528, 2005 (the rule).
    von Luxburg. Clustering stability: an overview. arXiv:1007.1075, 2010.
    Mourer, Forest, Lebbah, Azzag, Lacaille. Selecting the number of clusters with a stability trade-off.
    arXiv:2006.08530, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> adata = AnnData(obsm={"X_domains": np.repeat(10 * np.eye(4), 60, axis=0) + rng.normal(size=(240, 4))})
    >>> choose_n_domains(adata, n_domains=(2, 6))
    4
    """
    check_adata(adata)
    names = [use_rep] if isinstance(use_rep, str) else list(use_rep)
    n_spots = min(_MOST_SPOTS, adata.n_obs)
    n_sampled = int(share * n_spots) if 0.5 <= share < 1 else 0
    _check_search(n_domains, n_subsamples, share, n_sampled, len(names))
    embeddings = [checked_embedding(adata, n_domains[1], name) for name in names]
    numbers = list(range(n_domains[0], n_domains[1] + 1))
    rng = np.random.default_rng(seed)
    seen = np.sort(rng.choice(adata.n_obs, n_spots, replace=False))
    scores = [_whitened_scores(embedding[seen], n_components) for embedding in embeddings]
    labels = np.full((n_subsamples, len(numbers), n_spots), -1)  # -1: not in this sub-sample
    for fit in range(n_subsamples):
        rows = np.sort(rng.choice(n_spots, n_sampled, replace=False))
        labels[fit][:, rows] = _fit_each(scores[fit % len(names)][rows], numbers, rng)
    compared = np.array(
        [_compare(labels[:, place], k, len(names)) for place, k in enumerate(numbers)]
    )  # (n_numbers, 2, n_pairs)
    (stability, weakest), (sd, weakest_sd) = compared.mean(axis=2).T, compared.std(axis=2).T
    stable = weakest + weakest_sd / np.sqrt(n_subsamples) >= _STABLE
    curve = {"stability": stability, "sd": sd, "weakest": weakest, "weakest_sd": weakest_sd, "stable": stable}
    provenance(adata)[key_added] = pd.DataFrame({"n_domains": numbers, **curve})
    if stable.any():
        chosen = numbers[int(np.flatnonzero(stable)[-1])]
    else:
        chosen = numbers[int(weakest.argmax())]
        warn_user(
            f"No number of domains from {n_domains[0]} to {n_domains[1]} is stable (weakest domain at best "
            f"{weakest.max():.2f}, at {chosen}; {_STABLE} is needed), so {chosen} is a weak choice. Look at the curve "
            f"in adata.uns['histoquilt'][{key_added!r}], or give the number of domains."
        )
    logger.info("%d domains chosen by stability (%.2f).", chosen, stability[numbers.index(chosen)])
    return chosen


def _check_search(n_domains: tuple[int, int], n_subsamples: int, share: float, n_sampled: int, n_reps: int) -> None:
    numbers = list(n_domains) if isinstance(n_domains, Sequence) and not isinstance(n_domains, str) else []
    whole = all(isinstance(number, int | np.integer) and not isinstance(number, bool) for number in numbers)
    if len(numbers) != 2 or not whole or not 2 <= numbers[0] <= numbers[1]:
        raise ValueError(
            f"n_domains must be the smallest and the largest number to try, e.g. (2, 15), got {n_domains!r}. "
            "A known number needs no search."
        )
    if not 0.5 <= share < 1:
        raise ValueError(
            f"share must be at least 0.5 and less than 1, got {share}: sub-samples must overlap and differ."
        )
    if n_reps == 0:
        raise ValueError("use_rep names no embedding. Pass the name of one in adata.obsm, or several.")
    if n_subsamples < max(3, n_reps):
        raise ValueError(
            f"n_subsamples must be at least 3 and at least the number of embeddings ({n_reps}), got {n_subsamples}."
        )
    if n_sampled < 3 * numbers[1]:
        raise ValueError(
            f"A sub-sample of {n_sampled:,} spots is too small for up to {numbers[1]} domains (3 spots each at least). "
            f"Search up to {n_sampled // 3}, or give the number of domains."
        )


def _fit_each(scores: np.ndarray, numbers: list[int], rng: np.random.Generator) -> np.ndarray:
    """Return the labels of the likeliest fit for each number of domains, ``(n_numbers, n_spots)``.

    Half of the starts come from Ward trees, each of which serves all numbers, half from k-means, on small samples.
    """
    size = min(_START_SPOTS, len(scores))
    samples = [scores[rng.choice(len(scores), size, replace=False)] for _ in range(_N_STARTS // 2)]
    cuts = [cut_tree(linkage(sample, "ward"), numbers) for sample in samples]
    labels = np.zeros((len(numbers), len(scores)), int)
    for place, k in enumerate(numbers):
        starts = [(sample, cut[:, place]) for sample, cut in zip(samples, cuts, strict=True)]
        starts += [(sample, _kmeans(sample, k, rng)) for sample in samples]
        runs = []
        for sample, start in starts:
            if len(np.unique(start)) == k:  # fewer where rows repeat
                runs.append(fit_shared_covariance(scores, *start_moments(sample, start, k), n_iterations=_SHORT_RUN))
        runs.sort(key=lambda run: -run.log_likelihood)
        finals = [fit_shared_covariance(scores, run.weights, run.means) for run in runs[:_FINALISTS]]
        if finals:
            labels[place] = max(finals, key=lambda final: final.log_likelihood).responsibilities.argmax(axis=1)
    return labels


def _whitened_scores(embedding: np.ndarray, n_components: int) -> np.ndarray:
    return whitened(embedding, *whitening(embedding, n_components))


def _kmeans(sample: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    if len(np.unique(np.round(sample, 8), axis=0)) < k:  # repeated rows differ by rounding once they are projected
        return np.zeros(len(sample), int)
    return KMeans(k, n_init=1, max_iter=20, random_state=int(rng.integers(2**31))).fit_predict(sample)


def _compare(labels: np.ndarray, k: int, n_embeddings: int) -> tuple[np.ndarray, np.ndarray]:
    """Compare each pair of fits on the spots of both; 0 if a fit lacks one of its k domains.

    ``labels``: ``(n_fits, n_spots)`` int, -1 for spots outside the sub-sample. Returns adjusted Rand index and
    strength of the weakest domain, ``(n_pairs,)`` each. Of several embeddings only pairs of two different ones count.
    """
    complete = [len(np.unique(fit)) == k + 1 for fit in labels]
    agreement, weakest = [], []
    for first in range(len(labels)):
        for second in range(first + 1, len(labels)):
            if n_embeddings > 1 and (second - first) % n_embeddings == 0:
                continue
            shared = (labels[first] >= 0) & (labels[second] >= 0)
            both = labels[first][shared] * k + labels[second][shared]
            table = np.bincount(both, minlength=k * k).reshape(k, k)
            usable = complete[first] and complete[second]
            agreement.append(_adjusted_rand(table) if usable else 0.0)
            weakest.append(_weakest(table) if usable else 0.0)
    return np.array(agreement), np.array(weakest)


def _pairs(counts: np.ndarray) -> np.ndarray:
    return counts * (counts - 1.0) / 2


def _adjusted_rand(table: np.ndarray) -> float:
    """Return the adjusted Rand index of a contingency table."""
    same = _pairs(table).sum()
    rows, columns = _pairs(table.sum(axis=1)).sum(), _pairs(table.sum(axis=0)).sum()
    by_chance = rows * columns / _pairs(table.sum())
    most = (rows + columns) / 2
    return 1.0 if most == by_chance else float((same - by_chance) / (most - by_chance))


def _weakest(table: np.ndarray) -> float:
    """Return the prediction strength: of the worst domain, the share of pairs of spots that stay together."""
    strength = []
    for axis in (0, 1):
        together, pairs = _pairs(table).sum(axis=axis), _pairs(table.sum(axis=axis))
        strength.append(np.divide(together, pairs, out=np.zeros(len(pairs)), where=pairs > 0).min())
    return float(np.mean(strength))
