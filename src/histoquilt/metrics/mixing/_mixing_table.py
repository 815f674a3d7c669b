"""All measures of mixing in one tidy table, for all sections and for each pair of them."""

from collections.abc import Mapping
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from histoquilt.metrics.mixing._lisi import (
    MAX_SPOTS,
    PERPLEXITY,
    Neighbors,
    checked_embedding,
    median_lisi,
    n_others,
    nearest_others,
    scaled_clisi,
    scaled_ilisi,
)
from histoquilt.metrics.mixing._mixing import N_NEIGHBORS, batch_silhouette, domain_codes, entropy_ratio


def mixing_table(
    embeddings: Mapping[str, ArrayLike],
    sections: ArrayLike,
    domains: ArrayLike | None = None,
    *,
    max_spots: int = MAX_SPOTS,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare embeddings of the same spots by how well sections mix in them, and domains stay apart.

    Parameters
    ----------
    embeddings
        Name -> ``(n_spots, n_dims)``, e.g. before integration, after it, and Harmony's.
    sections
        One section name per spot, ``(n_spots,)``.
    domains
        One domain (or annotated label) per spot; spots without one count for the mixing of sections only. Give the
        same domains for all embeddings, best an annotation: domains made from one of them speak for it.
    max_spots, seed
        As in :func:`ilisi`.

    Returns
    -------
    Tidy table, one value a row:

    ``embedding`` : its name
    ``sections`` : ``"all"``, or ``"A vs B"`` for the spots of two sections only
    ``metric`` : ``ilisi``, ``ilisi_scaled``, ``batch_silhouette``, ``batch_entropy``, and with domains
    ``batch_silhouette_within_domains``, ``clisi``, ``clisi_scaled``; all but raw ``clisi`` are better when higher
    ``value`` : float; ``NaN`` where two sections share no domain, or a pair holds a single one

    Raises
    ------
    ValueError
        There is no embedding, lengths differ, an embedding is not finite, or there is a single section.

    Examples
    --------
    >>> import numpy as np
    >>> line = np.arange(200.0)[:, None]
    >>> sections = np.array(["a", "b"] * 100)
    >>> table = mixing_table({"before": line + 500 * (sections == "b")[:, None], "after": line}, sections)
    >>> table[(table["sections"] == "a vs b") & (table["metric"] == "ilisi")]["value"].round(1).tolist()
    [1.0, 2.0]
    """
    if not embeddings:
        raise ValueError("embeddings is empty. Pass at least one, as a dict from name to array (n_spots, n_dims).")
    checked = {name: checked_embedding(embedding, sections) for name, embedding in embeddings.items()}
    codes = next(iter(checked.values()))[1]
    domain = None if domains is None else domain_codes(domains, len(codes))
    groups = {"all": np.ones(len(codes), dtype=bool)}
    names = pd.unique(pd.Series(np.asarray(sections, dtype=object)))  # in the order of their codes
    for a, b in combinations(range(len(names)), 2):
        groups[f"{names[a]} vs {names[b]}"] = (codes == a) | (codes == b)
    rows = []
    for name, (points, _) in checked.items():
        for group, inside in groups.items():
            own = None if domain is None else domain[inside]
            values = _measure(points[inside], codes[inside], own, max_spots, seed)
            rows += [(name, group, metric, value) for metric, value in values.items()]
    return pd.DataFrame(rows, columns=["embedding", "sections", "metric", "value"])


def _measure(
    points: np.ndarray, codes: np.ndarray, domain: np.ndarray | None, max_spots: int, seed: int
) -> dict[str, float]:
    """Return all values for one set of spots; one search for neighbours serves them as far as possible."""
    codes = np.unique(codes, return_inverse=True)[1]
    n_near = min(n_others(PERPLEXITY), len(codes) - 1)
    neighbors = nearest_others(points, n_near, max_spots, seed)
    lisi = median_lisi(neighbors, codes)
    values = {
        "ilisi": lisi,
        "ilisi_scaled": scaled_ilisi(lisi, codes),
        "batch_silhouette": batch_silhouette(points, codes),
        "batch_entropy": entropy_ratio(neighbors, codes, min(N_NEIGHBORS, n_near)),
    }
    return values if domain is None else values | _measure_domains(points, codes, domain, neighbors, max_spots, seed)


def _measure_domains(
    points: np.ndarray, codes: np.ndarray, domain: np.ndarray, neighbors: Neighbors, max_spots: int, seed: int
) -> dict[str, float]:
    """Return what needs domains: mixing inside them, and how far apart they stay."""
    labelled = domain >= 0
    n_sections = pd.crosstab(domain[labelled], codes[labelled]).gt(0).sum(axis=1)
    inside = (
        batch_silhouette(points, codes, domains=np.where(labelled, domain, np.nan)) if any(n_sections > 1) else np.nan
    )
    values = {"batch_silhouette_within_domains": inside, "clisi": np.nan, "clisi_scaled": np.nan}
    if len(n_sections) < 2:
        return values
    if not labelled.all():
        neighbors = nearest_others(points[labelled], n_others(PERPLEXITY), max_spots, seed)
    of_domain = np.unique(domain[labelled], return_inverse=True)[1]
    lisi = median_lisi(neighbors, of_domain)
    return values | {"clisi": lisi, "clisi_scaled": scaled_clisi(lisi, of_domain)}
