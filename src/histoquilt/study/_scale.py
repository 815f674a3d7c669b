"""The declared scale of every matrix: ``uns["histoquilt"]["scale"]``, matrix name -> scale."""

from collections.abc import MutableMapping
from typing import Any, Literal, get_args

from anndata import AnnData

from histoquilt._base import Keys, argument

Scale = Literal["counts", "log1p_cp10k", "log_relative"]


def provenance(adata: AnnData) -> MutableMapping:
    """Return ``adata.uns["histoquilt"]``, made when missing: the one place where our parameters are recorded."""
    return adata.uns.setdefault(Keys.UNS, {})


def record_of(adata: AnnData, key: str) -> dict[str, Any]:
    """Return what is recorded in ``uns["histoquilt"]`` under a key, as of an embedding its encoder; or nothing."""
    record = adata.uns.get(Keys.UNS, {}).get(key, {})
    return dict(record) if hasattr(record, "keys") else {}


def declare_scale(adata: AnnData, name: str, scale: Scale) -> None:
    """Record the scale of a matrix that was just written.

    Parameters
    ----------
    adata
        Changed in place: ``uns["histoquilt"]["scale"][name]``.
    name
        ``"X"``, a layer or an obsm key.
    scale
        ``"counts"`` (raw integer counts), ``"log1p_cp10k"`` (log1p of counts per 10,000) or ``"log_relative"`` (natural
        log of the rate of a gene relative to its section, mean 0 over the spots; it may be negative).

    Raises
    ------
    ValueError
        The scale is unknown.
    """
    if scale not in get_args(Scale):
        raise ValueError(f"Unknown scale {scale!r}; known are {', '.join(get_args(Scale))}.")
    provenance(adata).setdefault(Keys.SCALE, {})[name] = scale


def declared_scale(adata: AnnData, name: str) -> Scale | None:
    """Return the declared scale of ``X``, a layer or an obsm matrix, or ``None`` when nobody declared one.

    Raises
    ------
    ValueError
        A scale is declared that is not known.
    """
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
    """
    scale = declared_scale(adata, name)
    if scale == "log_relative":
        raise ValueError(
            f"{name} is declared log_relative: log rates of genes relative to their section, which are not expression. "
            f"Pass {argument('layer')} with counts or log1p of counts per 10,000, such as "
            f"{name.replace('relative_', 'predicted_', 1)!r}."
        )
    return scale
