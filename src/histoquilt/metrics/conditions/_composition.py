"""Composition of sections, and which domains neighbour each other."""

import numpy as np
from scipy.sparse import csr_matrix

PSEUDO_COUNT = 0.5  # spots or links added before a logarithm, so that an absent domain has one


def centred_log_ratio(counts: np.ndarray, pseudo_count: float = PSEUDO_COUNT) -> np.ndarray:
    """Return the centred log-ratio of compositions: log2 of each part over the geometric mean of all parts.

    Proportions sum to one, so that one that grows makes others fall; their ratios are free of this. A change of one of
    ``n_parts`` parts by ``d`` still moves the mean, and thereby all other parts by ``-d / n_parts``.

    Parameters
    ----------
    counts
        Spots of each domain, ``(n_sections, n_parts)``, not negative.
    pseudo_count
        Number of spots added to every domain of every section, because the logarithm of zero is not defined.

    Returns
    -------
    ``(n_sections, n_parts)`` float64; rows sum to 0.

    Raises
    ------
    ValueError
        A count is negative, or ``pseudo_count`` is not positive.

    References
    ----------
    Aitchison, J R Stat Soc B 44, 1982, 139-177.

    Examples
    --------
    >>> centred_log_ratio(np.array([[15.5, 3.5]]))
    array([[ 1., -1.]])
    """
    counts = np.asarray(counts, dtype=np.float64)
    if not (counts >= 0).all():
        raise ValueError("counts must not be negative or NaN: they are spots of each domain.")
    if not pseudo_count > 0:
        raise ValueError(f"pseudo_count must be positive, got {pseudo_count}.")
    log = np.log2(counts + pseudo_count)
    return log - log.mean(axis=1, keepdims=True)


def neighbour_counts(codes: np.ndarray, graph: csr_matrix, n_domains: int) -> tuple[np.ndarray, np.ndarray]:
    """Count the neighbours of each pair of domains, and those expected if labels were shuffled over the spots.

    Parameters
    ----------
    codes
        Domain of each spot, from 0, ``(n_spots,)``; negative for none, whose links do not count.
    graph
        ``(n_spots, n_spots)``, symmetric; stored values are links.
    n_domains
        Number of domains.

    Returns
    -------
    Observed and expected links, ``(n_domains, n_domains)`` each, symmetric; a link counts once.

    Examples
    --------
    >>> ring = csr_matrix(np.array([[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 0]]))
    >>> observed, expected = neighbour_counts(np.array([0, 0, 1, 1]), ring, 2)
    >>> observed.tolist(), expected.round(2).tolist()
    ([[1.0, 2.0], [2.0, 1.0]], [[0.67, 2.67], [2.67, 0.67]])
    """
    links = graph.tocoo()
    once = (links.row < links.col) & (codes[links.row] >= 0) & (codes[links.col] >= 0)
    pairs = codes[links.row[once]] * n_domains + codes[links.col[once]]
    observed = np.bincount(pairs, minlength=n_domains**2).reshape(n_domains, n_domains).astype(np.float64)
    observed += np.triu(observed.T, 1) + np.tril(observed.T, -1)
    sizes = np.bincount(codes[codes >= 0], minlength=n_domains).astype(np.float64)
    n = sizes.sum()
    expected = 2 * np.outer(sizes, sizes)
    np.fill_diagonal(expected, sizes * (sizes - 1))
    return observed, expected * len(pairs) / max(n * (n - 1), 1.0)


def neighbour_enrichment(codes: np.ndarray, graph: csr_matrix, n_domains: int) -> np.ndarray:
    """Return log2 of observed over expected neighbours of each pair of domains, with half a link added to both.

    Arguments are those of :func:`neighbour_counts`. The result is ``(n_domains, n_domains)``, symmetric, NaN for
    domains without spots. 0 is what shuffled labels give; unlike a z-score it does not grow with the section. It is
    positive within a contiguous domain and negative between domains that only touch, the more so the larger they are.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> square = csr_matrix(np.array([[0, 1, 1, 0], [1, 0, 0, 1], [1, 0, 0, 1], [0, 1, 1, 0]]))
    >>> neighbour_enrichment(np.array([0, 0, 1, 1]), square, 2).round(2).tolist()
    [[0.36, -0.34], [-0.34, 0.36]]
    """
    observed, expected = neighbour_counts(codes, graph, n_domains)
    found = np.log2((observed + PSEUDO_COUNT) / (expected + PSEUDO_COUNT))
    absent = np.bincount(codes[codes >= 0], minlength=n_domains) == 0
    found[absent] = np.nan
    found[:, absent] = np.nan
    return found
