"""The declared scale of every matrix: ``uns["histoquilt"]["scale"]``, matrix name -> scale."""

from collections.abc import MutableMapping
from typing import Any, Literal, get_args

from anndata import AnnData

from histoquilt._base import Keys, argument

Scale = Literal["counts", "log1p_cp10k", "log_relative"]


def provenance(adata: AnnData) -> MutableMapping:
    """Return ``adata.uns["histoquilt"]``, where all parameters are recorded; created if missing.

    Examples
    --------
    >>> from anndata import AnnData
    >>> from histoquilt.study import provenance
    >>> adata = AnnData()
    >>> provenance(adata)["domains"] = {"seed": 0}
    >>> adata.uns["histoquilt"]
    {'domains': {'seed': 0}}
    """
    return adata.uns.setdefault(Keys.UNS, {})


def record_of(adata: AnnData, key: str) -> dict[str, Any]:
    """Return the record in ``uns["histoquilt"]`` under a key, e.g. of the encoder of an embedding; or nothing."""
    record = adata.uns.get(Keys.UNS, {}).get(key, {})
    return dict(record) if hasattr(record, "keys") else {}


def declare_scale(adata: AnnData, name: str, scale: Scale) -> None:
    """Record the scale of ``X``, a layer or an obsm matrix in ``uns["histoquilt"]["scale"][name]``.

    ``"counts"`` are raw integer counts, ``"log1p_cp10k"`` log1p of counts per 10,000, ``"log_relative"`` the natural
    log of the rate of a gene relative to its section, mean 0 over the spots; others raise ``ValueError``.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import declare_scale
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> declare_scale(adata, "predicted_ridge", "log1p_cp10k")
    >>> adata.uns["histoquilt"]["scale"]
    {'X': 'counts', 'predicted_ridge': 'log1p_cp10k'}
    """
    if scale not in get_args(Scale):
        raise ValueError(f"Unknown scale {scale!r}; known are {', '.join(get_args(Scale))}.")
    provenance(adata).setdefault(Keys.SCALE, {})[name] = scale


def declared_scale(adata: AnnData, name: str) -> Scale | None:
    """Return the declared scale of ``X``, a layer or an obsm matrix, or ``None``; raise ``ValueError`` if unknown."""
    scale = adata.uns.get(Keys.UNS, {}).get(Keys.SCALE, {}).get(name)
    if scale is not None and scale not in get_args(Scale):
        raise ValueError(
            f"adata.uns['histoquilt']['scale'][{name!r}] is {scale!r}; known scales are {', '.join(get_args(Scale))}."
        )
    return scale


def expression_scale(adata: AnnData, name: str) -> Literal["counts", "log1p_cp10k"] | None:
    """Return the declared scale of a matrix that is read as expression, or ``None`` when nobody declared one.

    Raises
    ------
    ValueError
        The scale is unknown, or the matrix is declared ``log_relative``: expression cannot be computed from it.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import declare_scale, expression_scale
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> expression_scale(adata, "X")
    'counts'
    >>> declare_scale(adata, "relative_ridge", "log_relative")
    >>> expression_scale(adata, "relative_ridge")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: relative_ridge is declared log_relative: log rates of genes relative to their ...
    """
    scale = declared_scale(adata, name)
    if scale == "log_relative":
        raise ValueError(
            f"{name} is declared log_relative: log rates of genes relative to their section, which are not expression. "
            f"Pass {argument('layer')} with counts or log1p of counts per 10,000, such as "
            f"{name.replace('relative_', 'predicted_', 1)!r}."
        )
    return scale
