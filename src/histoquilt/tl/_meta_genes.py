"""Meta-genes: sums and differences of a few genes that together mark one domain."""

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, listed
from histoquilt.pp import expression
from histoquilt.study import check_adata, check_obs_key, keep_foreign, write_result

_FEWEST = 5  # spots on either side of a comparison


def meta_genes(
    adata: AnnData,
    domain: str | None = None,
    *,
    start_gene: str | None = None,
    domain_key: str = Keys.DOMAIN,
    layer: str | None = None,
    max_steps: int = 5,
    key_added: str = "meta_genes",
) -> pd.DataFrame:
    """Combine genes into a meta-gene that marks a domain better than its best marker.

    The start is the gene that the domain expresses most above the other spots (Welch's t on log1p of counts per
    10,000). Each step looks at the spots outside that still exceed the domain's mean of the meta-gene, adds the gene
    that best tells the domain from these, and subtracts the one that best tells these from the domain. A step is kept
    if it leaves no more such spots than before and widens the difference of the means; the first that does not ends
    the search. Genes are chosen for the domain that they then mark, so the result describes; it tests nothing.

    Parameters
    ----------
    adata
        ``(n_spots, n_genes)``; raw counts, or a matrix declared ``log1p_cp10k``.
    domain
        Domain to mark; by default each of them.
    start_gene
        Gene to start from, by its name in ``var_names``; only with a ``domain``.
    domain_key
        Domains, in ``obs``. Unlabelled spots are outside every domain.
    layer
        Where the expression is; by default ``layers["counts"]``, then ``X``.
    max_steps
        Pairs of genes at most.
    key_added
        Where the results go.

    Returns
    -------
    DataFrame, one row a gene: ``domain``, ``step`` (0 is the start), ``gene``, ``sign`` (1 or -1), ``difference``
    (mean inside less mean outside after the step), ``n_outside`` (spots outside above the domain's mean). Adds:

    ``uns[key_added]`` : that table; rows of domains found before are kept, those of the same domain replaced
    ``obsm[key_added]`` : DataFrame ``(n_spots, n_domains)``, the meta-gene of each domain, 0 at its lowest spot

    Raises
    ------
    KeyError
        ``domain_key`` or ``layer`` is missing, or ``start_gene`` is no gene.
    ValueError
        ``domain`` is none of the domains, it or the rest has fewer than 5 spots, ``start_gene`` comes without a
        domain, ``max_steps`` is negative, or the expression is neither raw counts nor declared.

    References
    ----------
    Hu et al. Nature Methods 18: 1342-1351, 2021 (SpaGCN, meta genes); used on its domains by
    Min, Fang, Chen, Zhang. PLOS Computational Biology 21(4): e1012881, 2025 (SpaMask).

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> genes = hq.tl.meta_genes(adata, "layer1", domain_key="domain_true")
    >>> genes.columns.tolist(), genes["gene"].iloc[0]
    (['domain', 'step', 'gene', 'sign', 'difference', 'n_outside'], 'ZBTB15')
    """
    check_adata(adata)
    check_obs_key(adata, domain_key, argument="domain_key")
    labels = adata.obs[domain_key].astype("category").cat.remove_unused_categories()
    labels = labels.cat.rename_categories(str)
    known = list(labels.cat.categories)
    if domain is not None and str(domain) not in known:
        raise ValueError(f"{domain!r} is not a domain of obs[{domain_key!r}] (found: {listed(known)}).")
    if start_gene is not None and domain is None:
        raise ValueError("start_gene= belongs to one domain. Name it: meta_genes(adata, domain, start_gene=...).")
    if max_steps < 0:
        raise ValueError(f"max_steps must not be negative, got {max_steps}.")
    wanted = known if domain is None else [str(domain)]
    for name in wanted:
        n_inside = int((labels == name).sum())
        if min(n_inside, adata.n_obs - n_inside) < _FEWEST:
            raise ValueError(
                f"Domain {name!r} has {n_inside:,} of {adata.n_obs:,} spots; {_FEWEST} inside and outside are needed. "
                "Name a larger domain."
            )
    source = expression(adata, layer)
    if start_gene is not None and start_gene not in source.genes:
        raise KeyError(f"start_gene={start_gene!r} is not in adata.var_names (e.g. {listed(source.genes[:3])}).")
    matrix = source.normalised()
    tables, profiles = [], {}
    for name in wanted:
        first = None if start_gene is None else source.genes.index(start_gene)
        profiles[name], rows = _search(matrix, (labels == name).to_numpy(), first, max_steps)
        rows["gene"] = [source.genes[gene] for gene in rows["gene"]]
        tables.append(pd.DataFrame({"domain": name, **rows}))
    table = pd.concat(tables, ignore_index=True)
    _write(adata, key_added, table, profiles, known)
    return table


def _search(
    matrix: csr_matrix, inside: np.ndarray, start: int | None, max_steps: int
) -> tuple[np.ndarray, dict[str, list]]:
    """Return the meta-gene of one domain, ``(n_spots,)``, and its genes as columns of a table."""
    if start is None:
        start = int(_welch_t(matrix, inside, ~inside).argmax())
    profile = _column(matrix, start)
    used = {start}
    difference, n_outside = _sharpness(profile, inside)
    rows: dict[str, list] = {
        "step": [0], "gene": [start], "sign": [1], "difference": [difference], "n_outside": [n_outside]
    }  # fmt: skip
    for step in range(1, max_steps + 1):
        above = ~inside & (profile > profile[inside].mean())
        if above.sum() < _FEWEST:
            break
        t = _welch_t(matrix, inside, above)
        t[list(used)] = 0.0  # a gene counts once
        added, taken = int(t.argmax()), int(t.argmin())
        if t[added] <= 0 or t[taken] >= 0:
            break
        candidate = profile + _column(matrix, added) - _column(matrix, taken)
        new_difference, new_outside = _sharpness(candidate, inside)
        if new_outside > n_outside or new_difference <= difference:
            break
        profile, difference, n_outside = candidate, new_difference, new_outside
        used |= {added, taken}
        for gene, sign in ((added, 1), (taken, -1)):
            for column, value in zip(rows, (step, gene, sign, difference, n_outside), strict=True):
                rows[column].append(value)
    return profile - profile.min(), rows


def _column(matrix: csr_matrix, gene: int) -> np.ndarray:
    return np.asarray(matrix[:, [gene]].todense(), dtype=np.float64).ravel()


def _sharpness(profile: np.ndarray, inside: np.ndarray) -> tuple[float, int]:
    """Return the difference of means, and the number of spots outside that exceed the mean inside."""
    mean = profile[inside].mean()
    return float(mean - profile[~inside].mean()), int((profile[~inside] > mean).sum())


def _welch_t(matrix: csr_matrix, these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """Return Welch's t of each gene between two groups of spots, ``(n_genes,)``; 0 where neither side varies."""
    means, errors = [], []
    for rows in (these, those):
        part = matrix[np.flatnonzero(rows)].astype(np.float64)
        mean = np.asarray(part.mean(axis=0)).ravel()
        square = np.asarray(part.multiply(part).mean(axis=0)).ravel()
        n = part.shape[0]
        means.append(mean)
        errors.append(np.maximum(square - mean**2, 0) / (n - 1))
    error = np.sqrt(errors[0] + errors[1])
    return np.divide(means[0] - means[1], error, out=np.zeros(len(error)), where=error > 1e-9)


def _write(adata: AnnData, key: str, table: pd.DataFrame, profiles: dict[str, np.ndarray], known: list[str]) -> None:
    """Add new domains to those found before, in the order of the categories."""
    keep_foreign(adata, "uns", key)
    keep_foreign(adata, "obsm", key)
    columns = dict(profiles)
    if isinstance(before := adata.uns.get(key), pd.DataFrame) and key in adata.obsm:
        kept = [name for name in adata.obsm[key] if name in known and name not in profiles]
        columns |= {name: adata.obsm[key][name].to_numpy() for name in kept}
        table = pd.concat([before[before["domain"].isin(kept)], table])
    order = [name for name in known if name in columns]
    table = table.sort_values("domain", key=lambda names: names.map(order.index), kind="stable", ignore_index=True)
    write_result(adata, "uns", key, table)
    write_result(adata, "obsm", key, pd.DataFrame({name: columns[name] for name in order}, index=adata.obs_names))
