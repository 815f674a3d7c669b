"""Genes that several sections share."""

from collections.abc import Mapping

import pandas as pd

from histoquilt._base import listed
from histoquilt.runtime import warn_user
from histoquilt.study._genes import detect_gene_ids

# Sections of one platform share nearly all genes, a panel and a whole transcriptome all of the panel. Sharing less than
# a tenth of the smallest section's genes is accidental (other identifiers, another species).
_LEAST_SHARED = 0.1
_FEW_SHARED = 0.5


def shared_genes(genes: Mapping[str, pd.Index]) -> list[str]:
    """Return the genes of all sections, in the order of the first; ``genes`` is section name -> gene names.

    Raises ``ValueError`` if names repeat in a section or too few are shared; warns below half of the smallest section.
    """
    for name, names in genes.items():
        if not names.is_unique:
            raise ValueError(
                f"Section {name!r}: gene names must be unique; repeated: "
                f"{listed(names[names.duplicated()].unique(), 3)}. Call adata.var_names_make_unique()."
            )
    first, *others = genes.values()
    shared = first
    for names in others:
        shared = shared[shared.isin(names)]
    smallest = min(len(names) for names in genes.values())
    if max(len(names) for names in genes.values()) == 0:
        return []
    sizes = ", ".join(f"{name!r} {len(names):,}" for name, names in list(genes.items())[:8])
    if len(shared) <= _LEAST_SHARED * smallest:
        raise ValueError(
            f"All {len(genes)} sections together share {len(shared):,} genes (they have: {sizes}); at least "
            f"{_LEAST_SHARED:.0%} of the smallest are needed. {_why_few(genes, len(shared))}"
        )
    if len(shared) < _FEW_SHARED * smallest:
        warn_user(
            f"The sections share {len(shared):,} genes, {len(shared) / smallest:.0%} of the smallest (they have: "
            f"{sizes}). {_why_few(genes, len(shared))}"
        )
    return [str(gene) for gene in shared]


def _why_few(genes: Mapping[str, pd.Index], n_shared: int) -> str:
    """Return the most likely reason why few genes are shared."""
    kinds: dict[str, list[str]] = {}
    for name, names in genes.items():
        kinds.setdefault(detect_gene_ids(names).kind, []).append(name)
    if len(kinds) > 1:
        found = "; ".join(f"{kind}: {listed(names, 3)}" for kind, names in kinds.items())
        return (
            f"Genes are named differently ({found}). Name them all alike, for example adata.var_names = "
            "adata.var['gene_id']."
        )
    without = {
        name: len(set.intersection(*(set(names) for other, names in genes.items() if other != name)))
        for name in genes
        if len(genes) > 2
    }
    best = max(without, key=lambda name: without[name], default=None)
    if best is not None and without[best] > 2 * max(n_shared, 1):
        return f"Without {best!r} the others share {without[best]:,}: leave it out, or check its genes."
    return "Check that they are of one species and measured with comparable panels."
