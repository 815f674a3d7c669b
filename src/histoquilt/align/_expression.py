"""Expression of several sections on common axes, and its agreement where they overlap."""

import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.optimize import minimize
from scipy.spatial import cKDTree
from sklearn.utils.extmath import randomized_svd

from histoquilt.align._transform import Similarity
from histoquilt.gr import knn_adjacency, neighbour_means
from histoquilt.pp import Expression, expression, variable_genes
from histoquilt.study import check_obsm_key

N_GENES = 1000  # most variable of the shared genes
N_COMPONENTS = 20
LEAST_GENES = 20
FIT_SPOTS = 3000  # of each section, to find the axes
COMPARED_SPOTS = 2000
N_NEAREST = 4
STEP_PITCHES, STEP_DEG, STEP_SCALE = 2.0, 4.0, 0.03  # of the first steps of the search
MOST_FEW = 10  # fewest spots to correlate


def joint_features(
    sections: Sequence[AnnData],
    names: Sequence[str],
    coordinates: Sequence[np.ndarray],
    *,
    use_rep: str | None = None,
    layer: str | None = None,
    n_smooth: int = 2,
    by_section: bool = True,
    seed: int = 0,
) -> list[np.ndarray]:
    """Return smoothed principal components of the shared genes, ``(n_spots, n_components)`` for each section.

    Parameters
    ----------
    sections, names, coordinates
        Sections, their names in messages, and their spot centres ``(n_spots, 2)``.
    use_rep, layer
        Embedding in ``obsm`` used instead of genes; layer with the expression.
    n_smooth
        Number of times that each spot is averaged with its six neighbours.
    by_section
        If true, centre and scale each section separately. This removes batch effects, but also true differences in the
        composition of the sections: right for serial sections, wrong for different parts of one tissue.
    seed
        Random seed of the sample of spots that the components are fitted on.

    Raises
    ------
    KeyError
        ``use_rep`` or ``layer`` is missing.
    ValueError
        Fewer than 20 genes are shared, or the expression cannot be read.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.align import joint_features
    >>> sections = hq.io.split_sections(hq.datasets.toy_section(n_spots=100, n_genes=50, n_domains=2, n_sections=2))
    >>> coordinates = [adata.obsm["spatial"] for adata in sections.values()]
    >>> [features.shape for features in joint_features(list(sections.values()), list(sections), coordinates)]
    [(100, 20), (100, 20)]
    """
    if use_rep is not None:
        for section in sections:
            check_obsm_key(section, use_rep, argument="use_rep")
        features = [np.asarray(section.obsm[use_rep], dtype=np.float64) for section in sections]
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # empty spots and genes do no harm here
            features = _principal_components([expression(s, layer) for s in sections], names, by_section, seed)
    return [_average(values, xy, n_smooth) for values, xy in zip(features, coordinates, strict=True)]


def _principal_components(
    sources: list[Expression], names: Sequence[str], by_section: bool, seed: int
) -> list[np.ndarray]:
    shared = set(sources[0].genes).intersection(*(source.genes for source in sources[1:]))
    if len(shared) < LEAST_GENES:
        raise ValueError(
            f"Sections {', '.join(map(repr, names))} share {len(shared)} genes, too few to compare their expression "
            f"(at least {LEAST_GENES}). Are genes named alike in all (histoquilt.io.annotate_genes)?"
        )
    votes: Counter[str] = Counter()
    for source in sources:
        columns = [column for column, gene in enumerate(source.genes) if gene in shared]
        names_of_shared = [source.genes[column] for column in columns]
        of_shared = Expression(source.in_memory[:, columns], names_of_shared, source.scale, source.name)
        votes.update(names_of_shared[column] for column in variable_genes(of_shared, N_GENES))
    genes = sorted(votes, key=lambda gene: (-votes[gene], gene))[:N_GENES]
    values = [source.normalised()[:, pd.Index(source.genes).get_indexer(pd.Index(genes))] for source in sources]
    rng = np.random.default_rng(seed)
    sample = [v[rng.permutation(v.shape[0])[:FIT_SPOTS]].toarray() for v in values]
    pooled = np.concatenate(sample)
    means = [s.mean(axis=0) if by_section else pooled.mean(axis=0) for s in sample]
    stds = [s.std(axis=0) if by_section else pooled.std(axis=0) for s in sample]
    stds = [np.where(std > 0, std, 1.0) for std in stds]
    scaled = np.concatenate([(s - m) / d for s, m, d in zip(sample, means, stds, strict=True)])
    k = min(N_COMPONENTS, len(scaled) - 1, len(genes) - 1)
    axes = randomized_svd(scaled.clip(-10, 10), k, n_iter=4, random_state=seed)[2].T  # (n_genes, k)
    # the scaling is taken into the axes, so that no dense matrix of all spots is made
    return [v @ (axes / d[:, None]) - (m / d) @ axes for v, m, d in zip(values, means, stds, strict=True)]


def _average(values: np.ndarray, coordinates: np.ndarray, n_smooth: int) -> np.ndarray:
    """Average every spot with its six neighbours, ``n_smooth`` times."""
    if n_smooth == 0 or len(values) < 2:
        return values
    means = neighbour_means(knn_adjacency(coordinates, 6), itself=True)
    for _ in range(n_smooth):
        values = means @ values
    return values


class Agreement:
    """Agreement of the expression of two sections at the same place.

    Called with a transform, it returns the correlation over all centred features between the spots of ``moving`` and
    the nearest spots of ``fixed`` (weighted by distance); -1 if less than ``least_share`` of them overlap.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt.align import Agreement, Similarity
    >>> points = np.array([[x, y] for x in range(20) for y in range(20)], dtype=float)
    >>> section = points, np.sin(points / 5)  # expression that varies smoothly
    >>> agreement = Agreement(section, section, pitch=1.0)
    >>> round(agreement(Similarity.identity()), 2), agreement(Similarity.turn(np.pi))  # no overlap after half a turn
    (1.0, -1.0)
    """

    def __init__(
        self,
        moving: tuple[np.ndarray, np.ndarray],
        fixed: tuple[np.ndarray, np.ndarray],
        *,
        pitch: float,
        least_share: float = 0.25,
        n_spots: int = COMPARED_SPOTS,
        seed: int = 0,
    ) -> None:
        rows = np.random.default_rng(seed).permutation(len(moving[0]))[:n_spots]
        self.points, self.features = moving[0][rows], moving[1][rows]
        self.tree, self.fixed_features = cKDTree(fixed[0]), fixed[1]
        self.pitch = pitch
        self.least = max(MOST_FEW, least_share * len(rows))

    def __call__(self, move: Similarity) -> float:
        """Return the correlation, -1 to 1."""
        return self._compare(move)[0]

    def score(self, move: Similarity) -> float:
        """Return the correlation times the share of overlapping spots: correlation alone favours a small overlap."""
        correlation, share = self._compare(move)
        return correlation * share if correlation > 0 else correlation

    def _compare(self, move: Similarity) -> tuple[float, float]:
        distance, nearest = self.tree.query(move(self.points), k=min(N_NEAREST, self.tree.n))
        on = distance[:, 0] < self.pitch
        if on.sum() < self.least:
            return -1.0, float(on.mean())
        weight = 1 / (distance[on] + 0.1 * self.pitch) ** 2
        weight /= weight.sum(axis=1, keepdims=True)
        there = np.einsum("nk,nkd->nd", weight, self.fixed_features[nearest[on]])
        here = self.features[on]
        here, there = here - here.mean(axis=0), there - there.mean(axis=0)
        norm = np.linalg.norm(here) * np.linalg.norm(there)
        return float((here * there).sum() / norm) if norm > 0 else 0.0, float(on.mean())

    def climb(self, move: Similarity, *, allow_scale: bool = False, by_share: bool = True) -> Similarity:
        """Return the transform near ``move`` with the best score: rotated, shifted, and scaled if allowed.

        Without ``by_share`` it has the best correlation, for spots that were chosen because they overlap.
        """
        goal = self.score if by_share else self
        centre = move(self.points).mean(axis=0)

        def moved(change: np.ndarray) -> Similarity:
            scale = float(np.exp(STEP_SCALE * change[3])) if allow_scale else 1.0
            turn = Similarity.turn(np.radians(STEP_DEG * change[2]), scale=scale)
            shift = centre - turn.matrix @ centre + STEP_PITCHES * self.pitch * change[:2]
            return move.then(Similarity(turn.matrix, shift))

        n = 4 if allow_scale else 3
        corners = np.concatenate([np.zeros((1, n)), np.eye(n)]) * 1.5 - 1.5 / (n + 1)  # around the start
        options = {"initial_simplex": corners, "xatol": 0.01, "fatol": 1e-5, "maxfev": 200}
        return moved(minimize(lambda change: -goal(moved(change)), corners[0], method="Nelder-Mead", options=options).x)
