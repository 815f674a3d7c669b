"""Stability of the domain of every spot: how probable it is to come back under resampling."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from anndata import AnnData

import histoquilt
from histoquilt._base import Keys, argument, listed
from histoquilt.cluster import NestedLabels, half_of_blocks, reappearance
from histoquilt.runtime import logger
from histoquilt.study import as_categories, check_adata, check_obs_key, provenance, spot_centres, write_result
from histoquilt.tl._cluster import checked_embedding
from histoquilt.tl.nested._count_halves import CountHalves, NoCountsToSplitError, too_costly
from histoquilt.tl.nested._domain_tree import N_COMPONENTS
from histoquilt.tl.nested._earlier import remove_stability

Source = Literal["spots", "seeds", "counts"]

_LEAST_SPOTS = 8  # a domain, in the mean: four in each half


def domain_stability(
    adata: AnnData,
    *,
    sources: Sequence[Source] | None = None,
    n_resamples: int = 10,
    n_splits: int = 3,
    domain_key: str = Keys.DOMAIN,
    use_rep: str = Keys.EMBEDDING,
    layer: str | None = None,
    section_key: str | None = None,
    spatial_key: str = Keys.SPATIAL,
    seed: int = 0,
) -> None:
    """Estimate the probability that each spot gets its domain again under resampling.

    Labels are not changed. Mixtures are fitted anew to resampled data; each assigns all spots, and its Gaussians are
    matched one to one to the domains that they overlap most. The stability of a spot is the posterior probability of
    its domain in the refits, in the mean over the refits of each source of resampling, and over sources:

    - ``"spots"``: half of the spots of every section, in spatial blocks.
    - ``"seeds"``: all spots, from new random starts of EM, of which few are tried, so that refits differ by the optimum
      that they find.
    - ``"counts"``: raw counts are split binomially into two halves, and the domain model is fitted to each
      (genes, features, embedding), with the settings that it had.

    Refits use at most 5,000 spots, because with ever more spots any border comes back. Levels of
    :func:`domain_tree` get a stability, too: the Gaussians of a refit are merged to the same number of domains, and
    the parts of a domain are fitted again inside it. Domains found with ``clustering="merge"`` are refitted by merging.

    Parameters
    ----------
    adata
        One or several sections, ``(n_spots, n_genes)``, with domains and embedding; unlabelled spots get NaN.
    sources
        Sources of resampling. By default all that the section allows: counts are split if raw counts are present, and
        the model is not a network and there are at most 50,000 spots, since every half takes as long as the model did.
        The sources used are logged and recorded.
    n_resamples
        Number of refits to resampled spots, and from new starts.
    n_splits
        Number of splits of the counts, of two halves each.
    domain_key, use_rep
        Column of ``obs`` with the domains, and key in ``obsm`` of the embedding in which they were found.
    layer
        Layer with the raw counts; by default ``"counts"``, else ``X``.
    section_key, spatial_key
        Column of ``obs`` that distinguishes sections, and key in ``obsm`` of the spot centres.
    seed
        Random seed; results are reproducible with the same seed on the same machine.

    Returns
    -------
    ``None``. Adds to ``adata``:

    ``obs[f"{domain_key}_stability"]`` : float, 0 to 1
    ``obs[f"{domain_key}_coarse_{n}_stability"]``, ``obs[f"{domain_key}_fine_stability"]`` : the same for the levels of
    :func:`domain_tree`, if there are any
    ``uns["histoquilt"][f"{domain_key}_stability"]`` : dict of ``sources``, parameters and a DataFrame ``levels`` with
    ``key`` (column with the labels), ``n_domains``, the mean ``stability``, and the mean by each source

    Raises
    ------
    KeyError
        The domains, the embedding, ``section_key`` or the spot centres are missing.
    ValueError
        There are fewer than two domains, or than eight spots a domain; a source is unknown or cannot be used; or there
        is no resampling.

    See Also
    --------
    histoquilt.pl.confidence : map of a column with values from 0 to 1.

    References
    ----------
    Hennig. Computational Statistics and Data Analysis 52(1): 258-271, 2007 (clusters under resampling).
    Neufeld, Gao, Popp, Battle, Witten. Biostatistics 25(1): 270-287, 2024 (count splitting).

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, n_domains=4, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=4, progress=False)
    >>> hq.tl.domain_stability(adata)
    >>> adata.obs["domain_stability"].between(0, 1).all(), adata.uns["histoquilt"]["domain_stability"]["sources"]
    (np.True_, ['spots', 'seeds', 'counts'])
    """
    _check(adata, sources, n_resamples, n_splits, domain_key)
    embedding = checked_embedding(adata, 1, use_rep)
    columns, labels = _nested(adata, domain_key)
    labelled = np.flatnonzero(as_categories(adata, domain_key).codes >= 0)
    used, halves = _usable(adata, sources, domain_key, use_rep, layer)
    facts = provenance(adata).get(domain_key, {})
    fit: dict[str, Any] = {
        "n_components": int(facts.get("n_components", N_COMPONENTS)),
        "merged": str(facts.get("method", "")).startswith("merged"),
    }
    spatial, sections = _places(adata, labelled, spatial_key, section_key)
    everything = np.arange(len(labelled))

    def draws(source: Source, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield embeddings of the labelled spots and the rows to fit on."""
        if source == "counts" and halves is not None:
            split = halves.embeddings(adata, n_splits, spatial_key=spatial_key, section_key=section_key, seed=seed)
            yield from ((one[labelled], everything) for one in split)
            return
        own = embedding[labelled]
        for _ in range(n_resamples):
            yield own, half_of_blocks(spatial, sections, rng) if source == "spots" else everything

    by_source = {}
    for source in used:
        rng = np.random.default_rng([seed, get_args(Source).index(source)])  # whatever other sources are used
        total, n_refits = np.zeros((len(columns), len(labelled))), 0
        for one, rows in draws(source, rng):
            total += reappearance(one, labels, rows, rng=rng, **fit)
            n_refits += 1
        by_source[source] = total / n_refits
    record = {"sources": list(used), "n_resamples": n_resamples, "n_splits": n_splits, "use_rep": use_rep, "seed": seed}
    _write(adata, domain_key, columns, labelled, by_source, record)


def _check(adata: AnnData, sources: Sequence[Source] | None, n_resamples: int, n_splits: int, domain_key: str) -> None:
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    known = get_args(Source)
    if sources is not None and (isinstance(sources, str) or not sources or set(sources) - set(known)):
        raise ValueError(f"{argument('sources')} must be some of {listed(known)}, got {sources!r}.")
    if n_resamples < 1:
        raise ValueError(f"{argument('n_resamples')} must be at least 1, got {n_resamples}.")
    if n_splits < 1:
        raise ValueError(f"{argument('n_splits')} must be at least 1, got {n_splits}.")
    codes = as_categories(adata, domain_key).codes
    n_domains, n_labelled = len(np.unique(codes[codes >= 0])), int((codes >= 0).sum())
    if n_domains < 2:
        raise ValueError(
            f"Stability needs two domains or more, and obs[{domain_key!r}] has {n_domains or 'none'}: a single one "
            "always comes back."
        )
    if n_labelled < _LEAST_SPOTS * n_domains:
        raise ValueError(
            f"{n_labelled} spots are too few to resample {n_domains} domains: at least {_LEAST_SPOTS} spots a domain, "
            f"{_LEAST_SPOTS * n_domains}, are needed."
        )


def _nested(adata: AnnData, domain_key: str) -> tuple[dict[str, int], NestedLabels]:
    """Return column -> number of domains of each level, from coarse to fine, and the labels of labelled spots."""
    tree = provenance(adata).get(f"{domain_key}_tree")
    keys = [domain_key] if tree is None else [key for key in tree["levels"]["key"] if key in adata.obs]
    labelled = as_categories(adata, domain_key).codes >= 0
    codes = {}
    for key in keys:
        codes[key] = np.unique(as_categories(adata, key).codes[labelled], return_inverse=True)[1]
    columns = {key: int(one.max()) + 1 for key, one in codes.items()}
    first = np.unique(codes[domain_key], return_index=True)[1]  # a spot of each domain
    coarser = [one[first] for key, one in codes.items() if columns[key] < columns[domain_key]]
    return columns, NestedLabels(codes[domain_key], coarser, codes.get(f"{domain_key}_fine"))


def _usable(
    adata: AnnData, sources: Sequence[Source] | None, domain_key: str, use_rep: str, layer: str | None
) -> tuple[list[Source], CountHalves | None]:
    """Return the sources to use, and the counts to split if they are among them."""
    asked: Sequence[Source] = get_args(Source) if sources is None else sources
    if "counts" not in asked:
        return list(asked), None
    why = "" if sources is not None else too_costly(adata, domain_key)
    if not why:
        try:
            return list(asked), CountHalves.of(adata, domain_key, use_rep, layer)
        except NoCountsToSplitError as error:
            why = str(error)
            if sources is not None:
                raise ValueError(
                    f"Counts cannot be split: {why.rstrip('.')}. Leave 'counts' out of {argument('sources')}."
                ) from error
    rest: list[Source] = [source for source in asked if source != "counts"]
    logger.info("Stability by resampled %s; counts are not split: %s.", " and ".join(rest), why.rstrip("."))
    return rest, None


def _places(
    adata: AnnData, labelled: np.ndarray, spatial_key: str, section_key: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return centres and section numbers of labelled spots."""
    sections = np.zeros(adata.n_obs, int)
    if section_key is not None:
        check_obs_key(adata, section_key, argument="section_key")
        sections = np.unique(adata.obs[section_key].astype(str), return_inverse=True)[1]
    return np.asarray(spot_centres(adata, spatial_key), float)[labelled], sections[labelled]


def _write(
    adata: AnnData,
    domain_key: str,
    columns: dict[str, int],
    labelled: np.ndarray,
    by_source: dict[Source, np.ndarray],
    record: dict[str, Any],
) -> None:
    """Write the mean over sources of ``(n_levels, n_spots)`` at each level, and the record."""
    remove_stability(adata, domain_key)
    rows = []
    for level, (key, n_domains) in enumerate(columns.items()):
        values = np.full(adata.n_obs, np.nan)
        values[labelled] = np.mean([of_source[level] for of_source in by_source.values()], axis=0)
        write_result(adata, "obs", f"{key}_stability", values)
        row = {"key": key, "n_domains": n_domains, "stability": float(np.nanmean(values))}
        rows.append(row | {str(source): float(of_source[level].mean()) for source, of_source in by_source.items()})
    record |= {"version": histoquilt.__version__, "levels": pd.DataFrame(rows)}
    provenance(adata)[f"{domain_key}_stability"] = record
