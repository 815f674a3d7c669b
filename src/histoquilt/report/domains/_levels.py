"""Nested levels of domains on a page, and a second labeling that differs from the first."""

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import as_categories, domain_levels
from histoquilt.report._encode import finite

_DIFFERENT = 0.7  # adjusted Rand index below which two labelings are shown side by side


class DomainLevels:
    """Levels of the domains as the script of the page reads them; none if the domains were not nested.

    Attributes
    ----------
    shown
        One dict for each level, from coarse to fine: ``title``, ``names``, ``colors``, ``stability``; and ``of``, the
        number of each domain at that level (of the unlabelled last), or at a finer level ``parents``, the domain of
        each part.
    start
        Number of the level of the domains themselves.
    parts
        ``(n_spots,)`` number of the part of every spot, or None without a finer level.
    """

    def __init__(self, adata: AnnData, domain_key: str, names: list[str], colors: list[str]) -> None:
        self.shown: list[dict[str, Any]] = []
        self.start, self.parts = 0, None
        try:
            levels = domain_levels(adata, domain_key)
        except KeyError:
            return
        self.start = [level.key for level in levels].index(domain_key)
        number = pd.Index(names)
        flat = number.get_indexer(pd.Index(levels[self.start].names))  # the tree has no domains without spots
        above = np.arange(len(flat))
        for level in reversed(levels[: self.start + 1]):
            of = np.full(len(names) + 1, len(level.names))
            of[flat] = above
            shown_colors = [colors[code] for code in flat] if level.key == domain_key else level.colors
            self.shown.insert(0, self._of(level, of=of.tolist(), colors=shown_colors))
            above = np.array(level.parents)[above]
        for level in levels[self.start + 1 :]:
            self.shown.append(self._of(level, parents=flat[level.parents].tolist()))
            codes = level.codes(adata)
            self.parts = np.where(codes < 0, len(level.names), codes)

    @staticmethod
    def _of(level: Any, **more: Any) -> dict[str, Any]:
        known = {"title": level.title, "names": level.names, "colors": level.colors, "of": None, "parents": None}
        return {**known, "stability": finite(level.stability), **more}


def level_stabilities(adata: AnnData, domain_key: str, n_levels: int) -> list[np.ndarray]:
    """Return the stability of every spot at each of the levels that the page shows; empty if it was not computed.

    Without levels, ``n_levels`` is 0 and the list has that of the domains alone.
    """
    keys = [level.key for level in domain_levels(adata, domain_key)] if n_levels else [domain_key]
    columns = [f"{key}_stability" for key in keys]
    if any(column not in adata.obs for column in columns):
        return []
    return [pd.to_numeric(adata.obs[column], errors="coerce").to_numpy(dtype=float) for column in columns]


def differing_mixture(adata: AnnData, domain_key: str, names: list[str]) -> tuple[np.ndarray, float] | None:
    """Return the labels of the mixture and their agreement with the domains, or None if they are not shown.

    They are shown if domains were found by merging and differ by an adjusted Rand index below 0.7. Labels
    ``(n_spots,)`` are numbers of ``names``, and their count for unlabelled spots.
    """
    agreement = adata.uns.get(Keys.UNS, {}).get(domain_key, {}).get("agreement_with_mixture")
    key = f"{domain_key}_mixture"
    if agreement is None or agreement >= _DIFFERENT or key not in adata.obs:
        return None
    labels = as_categories(adata, key)
    number = pd.Index(names).get_indexer(labels.categories)
    number[number < 0] = len(names)
    return np.where(labels.codes < 0, len(names), number[labels.codes]), float(agreement)
