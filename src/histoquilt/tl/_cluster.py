"""Clustering of an embedding into a given number of domains: mixture, k-means, Leiden."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
from anndata import AnnData
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.neighbors import KNeighborsClassifier

from histoquilt._base import Keys, check_n_domains, require
from histoquilt.cluster import check_all_found, fit_mixture, name_by_position, spatial_sample
from histoquilt.pp import row_chunks
from histoquilt.runtime import numba_beside_torch
from histoquilt.study import check_adata, check_obsm_key, provenance, spot_centres, write_result
from histoquilt.tl.nested._earlier import remove_stability


def cluster_mixture(
    adata: AnnData,
    n_domains: int,
    *,
    use_rep: str = Keys.EMBEDDING,
    n_components: int = 15,
    n_starts: int = 30,
    key_added: str = Keys.DOMAIN,
    seed: int = 0,
) -> None:
    """Cluster an embedding with Gaussians that share one full covariance (mclust's "EEE").

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; ``obsm[use_rep]`` holds the embedding.
    n_domains
        Number of domains, exactly.
    use_rep
        Embedding to cluster.
    n_components
        Number of principal components of the embedding to cluster in, at most its width.
    n_starts
        Starts of EM, half from Ward trees, half from k-means; the most likely fit is kept. Of more than 50,000 spots
        the mixture is fitted on so many, spread evenly over the tissue, and the others are given a domain by it.
    key_added
        Where the domains go.
    seed
        For the samples that EM starts from.

    Returns
    -------
    None. Adds to ``adata``:

    ``obs[key_added]`` : categorical, "1" to "k" from the top of the tissue to the bottom
    ``obs[f"{key_added}_confidence"]`` : float, posterior probability of the domain in the mixture, 0 to 1
    ``uns["histoquilt"][key_added]`` : method and parameters

    Raises
    ------
    KeyError
        ``use_rep`` is missing.
    ValueError
        ``n_domains`` is less than 1, more than there are spots, or more than can be distinguished.

    References
    ----------
    Scrucca, Fop, Murphy, Raftery. The R Journal 8(1): 289-317, 2016 (mclust; model EEE).

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=3, progress=False)
    >>> hq.tl.cluster_mixture(adata, 2, key_added="two")
    >>> adata.obs["two"].cat.categories.tolist()
    ['1', '2']
    """
    embedding = checked_embedding(adata, n_domains, use_rep)
    sample = _sample(adata, seed)
    fit = fit_mixture(embedding, n_domains, n_components=n_components, n_starts=n_starts, sample=sample, seed=seed)
    write_domains(adata, fit.labels, key_added, n_domains)
    write_result(adata, "obs", f"{key_added}_confidence", fit.probabilities.max(axis=1))
    settings = {"n_components": n_components, "n_starts": n_starts, "n_spots_fitted": fit.n_fitted}
    _record(adata, key_added, "mixture EEE", n_domains, use_rep, seed, **settings)


def cluster_kmeans(
    adata: AnnData,
    n_domains: int,
    *,
    use_rep: str = Keys.EMBEDDING,
    n_components: int = 30,
    n_starts: int = 50,
    key_added: str = Keys.DOMAIN,
    seed: int = 0,
) -> None:
    """Cluster an embedding with k-means, the best of many starts.

    Parameters, what is written and errors are those of :func:`cluster_mixture`, without a confidence. ``n_starts`` is
    the number of random starts; the tightest clustering is kept.

    Examples
    --------
    >>> import histoquilt as hq, numpy as np
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> adata.obsm["X_pca"] = np.log1p(adata.X.toarray())
    >>> hq.tl.cluster_kmeans(adata, 3, use_rep="X_pca")
    >>> adata.obs["domain"].nunique()
    3
    """
    embedding = checked_embedding(adata, n_domains, use_rep)
    sample = _sample(adata, seed)
    fitted = np.asarray(embedding if sample is None else embedding[sample], dtype=np.float64)
    pca = None
    scores = fitted
    if embedding.shape[1] > n_components:
        pca = PCA(min(n_components, len(fitted)), svd_solver="full")
        scores = pca.fit_transform(fitted)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # too few distinct rows: write_domains says so
        means = KMeans(n_domains, n_init=n_starts, random_state=seed).fit(scores)
    labels = means.labels_
    if sample is not None:
        chunks = (np.asarray(chunk, dtype=np.float64) for chunk in _chunks(embedding))
        labels = np.concatenate([means.predict(chunk if pca is None else pca.transform(chunk)) for chunk in chunks])
    write_domains(adata, labels, key_added, n_domains)
    settings = {"n_components": n_components, "n_starts": n_starts, "n_spots_fitted": len(fitted)}
    _record(adata, key_added, "k-means", n_domains, use_rep, seed, **settings)


def cluster_leiden(
    adata: AnnData,
    n_domains: int,
    *,
    use_rep: str = Keys.EMBEDDING,
    n_neighbors: int = 15,
    key_added: str = Keys.DOMAIN,
    seed: int = 0,
) -> None:
    """Cluster an embedding with Leiden, at a resolution searched for exactly ``n_domains`` domains.

    Parameters, what is written and errors are those of :func:`cluster_mixture`, without a confidence; ``n_neighbors``
    is the number of neighbours of the graph in the embedding. Of more than 50,000 spots so many, spread evenly over the
    tissue, are clustered, and the others take the domain that most of their nearest among those have. Needs the
    ``leiden`` extra.

    Raises
    ------
    ImportError
        igraph is missing.
    ValueError
        No resolution gives that number of domains; the message tells which numbers were found.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from anndata import AnnData
    >>> rng, true = np.random.default_rng(0), np.repeat([0, 1, 2], 30)
    >>> adata = AnnData(np.ones((90, 1)), obsm={"spatial": rng.random((90, 2))})
    >>> adata.obsm["X_domains"] = np.array([[0, 0], [9, 0], [0, 9]])[true] + rng.normal(size=(90, 2))
    >>> hq.tl.cluster_leiden(adata, 3, key_added="leiden")
    >>> adata.obs["leiden"].value_counts().tolist()
    [30, 30, 30]
    """
    embedding = checked_embedding(adata, n_domains, use_rep)
    require("igraph", extra="leiden", purpose="Leiden clustering")
    import scanpy as sc

    sample = _sample(adata, seed)
    rows = np.arange(adata.n_obs) if sample is None else sample
    fitted = np.asarray(embedding[rows], dtype=np.float64)
    scratch = AnnData(obs=adata.obs.iloc[rows][[]].copy(), obsm={"X": fitted})
    with numba_beside_torch():
        sc.pp.neighbors(scratch, n_neighbors=n_neighbors, use_rep="X", random_state=seed)

    def cluster(resolution: float) -> np.ndarray:
        sc.tl.leiden(scratch, resolution=resolution, flavor="igraph", n_iterations=2, random_state=seed)
        return scratch.obs["leiden"].cat.codes.to_numpy()

    resolution, labels = _search_resolution(cluster, n_domains)
    if sample is not None:
        labels = _of_nearest(embedding, sample, labels, n_neighbors)
    write_domains(adata, labels, key_added, n_domains)
    settings = {"n_neighbors": n_neighbors, "resolution": resolution, "n_spots_fitted": len(rows)}
    _record(adata, key_added, "leiden", n_domains, use_rep, seed, **settings)


def _of_nearest(embedding: np.ndarray, sample: np.ndarray, labels: np.ndarray, n_neighbors: int) -> np.ndarray:
    """Give every spot the most frequent label of its nearest spots in ``sample``, which keeps its own ``labels``."""
    nearest = KNeighborsClassifier(n_neighbors).fit(np.asarray(embedding[sample], np.float32), labels)
    everywhere = np.concatenate([nearest.predict(np.asarray(chunk, np.float32)) for chunk in _chunks(embedding)])
    everywhere[sample] = labels
    return everywhere


def _sample(adata: AnnData, seed: int) -> np.ndarray | None:
    """Return the rows to fit on, spread over the tissue if there are coordinates; None for all."""
    spatial = np.asarray(spot_centres(adata, strict=False), float) if Keys.SPATIAL in adata.obsm else None
    if spatial is not None and not np.isfinite(spatial).all():  # an embedding is clustered without places, too
        spatial = None
    return spatial_sample(adata.n_obs, spatial, seed=seed)


def write_domains(adata: AnnData, labels: np.ndarray, key: str, n_domains: int) -> None:
    """Write cluster numbers as ``obs[key]``, named by position.

    Raises
    ------
    ValueError
        Another number of domains was found than asked for.
    """
    check_all_found(labels, n_domains)
    spatial = np.asarray(spot_centres(adata, strict=False), float) if Keys.SPATIAL in adata.obsm else None
    remove_stability(adata, key)
    write_result(adata, "obs", key, name_by_position(labels, spatial))


def _search_resolution(cluster: Callable[[float], np.ndarray], n_domains: int) -> tuple[float, np.ndarray]:
    """Bisect for the resolution that gives ``n_domains`` clusters."""
    low, high = 0.0, 1.0
    seen: dict[int, float] = {}
    for _ in range(16):  # an upper bound, doubled until there are enough clusters
        labels = cluster(high)
        n_found = labels.max() + 1
        seen[n_found] = high
        if n_found >= n_domains:
            break
        low, high = high, 2 * high
    for _ in range(30 if n_found >= n_domains else 0):
        if n_found == n_domains:
            return seen[n_domains], labels
        middle = (low + high) / 2
        labels = cluster(middle)
        n_found = labels.max() + 1
        seen[n_found] = middle
        low, high = (middle, high) if n_found < n_domains else (low, middle)
    raise ValueError(
        f"No Leiden resolution gives exactly {n_domains} domains (found: {', '.join(map(str, sorted(seen)))}). "
        "Ask for one of these, change n_neighbors, or use cluster_mixture, which takes any number."
    )


def checked_embedding(adata: AnnData, n_domains: int, use_rep: str) -> np.ndarray:
    """Return the embedding as it is stored, ``(n_spots, n_features)``; computations use float64."""
    check_adata(adata)
    check_n_domains(n_domains, adata.n_obs)
    check_obsm_key(adata, use_rep, argument="use_rep")
    embedding = np.asarray(adata.obsm[use_rep])  # one that stays in its file is not read yet
    if embedding.dtype.kind != "f":
        embedding = embedding.astype(np.float64)
    if embedding.ndim != 2 or embedding.shape[1] == 0:
        raise ValueError(f"adata.obsm[{use_rep!r}] must have shape (n_spots, n_features), got {embedding.shape}.")
    if not all(np.isfinite(chunk).all() for chunk in _chunks(embedding)):
        raise ValueError(
            f"adata.obsm[{use_rep!r}] holds NaN or infinite values; it cannot be clustered. Compute it again, or drop "
            "these spots."
        )
    return embedding


def _chunks(embedding: np.ndarray) -> Iterator[np.ndarray]:
    """Yield a large embedding a few spots at a time."""
    for rows in row_chunks(*embedding.shape):
        yield embedding[rows]


def _record(
    adata: AnnData, key: str, method: str, n_domains: int, use_rep: str, seed: int, **parameters: float
) -> None:
    provenance(adata)[key] = {
        "method": method,
        "n_domains": int(n_domains),
        "use_rep": use_rep,
        "seed": int(seed),
        "refined": False,
        **parameters,
    }
