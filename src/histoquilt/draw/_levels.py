"""Levels of nested domains, as ``histoquilt.tl.domain_tree`` recorded them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, MissingKey
from histoquilt.study import as_categories


@dataclass(frozen=True)
class DomainLevel:
    """One level of nested domains.

    Attributes
    ----------
    key, title
        Column of ``obs``, and title of the level.
    names, colors, parents
        Names and colours of its domains, and the number of each one's domain in the level before; -1 at the first.
    stability
        Adjusted Rand index with refits; NaN if unknown.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import DomainLevel
    >>> level = DomainLevel("domain", "2 domains", ["1", "2"], ["#1f77b4", "#ff7f0e"], [0, 0], stability=0.9)
    >>> adata = AnnData(obs=pd.DataFrame({"domain": pd.Categorical(["2", "1", None])}, index=list("abc")))
    >>> level.codes(adata).tolist()
    [1, 0, -1]
    """

    key: str
    title: str
    names: list[str]
    colors: list[str]
    parents: list[int]
    stability: float

    def codes(self, adata: AnnData) -> np.ndarray:
        """Return the number in ``names`` of the domain of every spot, ``(n_spots,)``; -1 for unlabelled spots."""
        labels = as_categories(adata, self.key)
        number = pd.Index(self.names).get_indexer(labels.categories)
        return np.where(labels.codes < 0, -1, number[labels.codes])


def domain_levels(adata: AnnData, domain_key: str = Keys.DOMAIN) -> list[DomainLevel]:
    """Return the levels of the domains, from coarse to fine.

    Raises
    ------
    KeyError
        No tree of these domains is recorded, or a column of it is missing.

    Examples
    --------
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> from histoquilt.draw import domain_levels
    >>> obs = pd.DataFrame({"domain_coarse_2": ["1", "1", "2"], "domain": ["1", "2", "3"]}, index=list("abc"))
    >>> levels = pd.DataFrame({"key": ["domain_coarse_2", "domain"], "n_domains": [2, 3], "stability": [1.0, 0.9]})
    >>> nodes = pd.DataFrame({
    ...     "key": ["domain_coarse_2"] * 2 + ["domain"] * 3, "name": ["1", "2", "1", "2", "3"],
    ...     "parent": ["", "", "1", "1", "2"], "color": ["#1f77b4", "#ff7f0e", "#1f77b4", "#aec7e8", "#ff7f0e"],
    ... })
    >>> adata = AnnData(obs=obs, uns={"histoquilt": {"domain_tree": {"levels": levels, "nodes": nodes}}})
    >>> [(level.title, level.names, level.parents) for level in domain_levels(adata)]
    [('2 domains', ['1', '2'], [-1, -1]), ('3 domains', ['1', '2', '3'], [0, 0, 1])]
    """
    key = f"{domain_key}_tree"
    recorded = adata.uns.get(Keys.UNS, {})
    remedy = "Nest the domains with histoquilt.tl.domain_tree(adata)."
    if key not in recorded:
        raise MissingKey(key, f"adata.uns[{Keys.UNS!r}]", recorded, remedy)
    tree, levels = recorded[key], list[DomainLevel]()
    for row in tree["levels"].itertuples():
        if row.key not in adata.obs:
            raise MissingKey(row.key, "adata.obs", adata.obs.columns, remedy)
        nodes = tree["nodes"][tree["nodes"]["key"] == row.key]
        above = {name: number for number, name in enumerate(levels[-1].names)} if levels else {}
        title = f"fine: {row.n_domains} domains" if str(row.key).endswith("_fine") else f"{row.n_domains} domains"
        levels.append(
            DomainLevel(
                key=str(row.key),
                title=title,
                names=nodes["name"].astype(str).tolist(),
                colors=nodes["color"].astype(str).tolist(),
                parents=[above.get(name, -1) for name in nodes["parent"].astype(str)],
                stability=float(row.stability),
            )
        )
    return levels
