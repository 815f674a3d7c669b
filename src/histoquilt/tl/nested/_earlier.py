"""Remove labels that belong to domains of an earlier run."""

from anndata import AnnData

from histoquilt.study import is_ours, provenance


def remove_levels(adata: AnnData, tree_key: str) -> None:
    """Remove the levels of an earlier tree, whose record is ``uns["histoquilt"][tree_key]``, and their stability."""
    record = provenance(adata).pop(tree_key, None)
    if record is not None:
        remove_stability(adata, record["domain_key"])
        for key in set(record["levels"]["key"]) - {record["domain_key"]}:
            remove_own(adata, key)


def remove_stability(adata: AnnData, domain_key: str) -> None:
    """Remove the stability of domains at all levels."""
    record = provenance(adata).pop(f"{domain_key}_stability", None)
    if record is not None:
        for key in record["levels"]["key"]:
            remove_own(adata, f"{key}_stability")


def remove_own(adata: AnnData, key: str) -> None:
    """Remove ``obs[key]`` and its colours if histoquilt wrote them."""
    if key in adata.obs and is_ours(adata, "obs", key):
        del adata.obs[key]
        if is_ours(adata, "uns", f"{key}_colors"):
            adata.uns.pop(f"{key}_colors", None)
