"""A pathologist's annotation on a page: its map, and domains compared with it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt.draw import as_categories, domain_colors
from histoquilt.metrics import NO_REGION, AnnotationScore, named_regions, score_annotation
from histoquilt.report._encode import browser_colors, finite, packed
from histoquilt.study import annotation_key


class ShownAnnotation:
    """Annotation of one AnnData.

    ``shared`` are colours of the study that it is a section of, ``unlabelled`` labels that name no region.

    Attributes
    ----------
    key
        Column of ``obs``.
    colors
        Region -> colour ``#rrggbb``.
    regions
        Region of every spot ``(n_spots,)``, None where there is none.
    """

    def __init__(
        self,
        adata: AnnData,
        key: str,
        shared: Mapping[str, str] | None = None,
        unlabelled: Sequence[str] = NO_REGION,
    ) -> None:
        self.key = key
        self.regions: np.ndarray = named_regions(as_categories(adata, key), unlabelled)
        present = set(self.regions) - {None}
        own = browser_colors({name: color for name, color in domain_colors(adata, key).items() if name in present})
        self.colors: Mapping[str, str] = own if shared is None else shared

    @classmethod
    def of(
        cls, adata: AnnData, label_key: str | None = None, joint: "ShownAnnotation | None" = None
    ) -> "ShownAnnotation | None":
        """Return the annotation of a section; None if it has none."""
        key = annotation_key(adata, label_key)
        if key is None:
            return None
        shown = cls(adata, key, None if joint is None else joint.colors)
        return shown if any(region is not None for region in shown.regions) else None

    def spots(self, rows: np.ndarray) -> str:
        """Return numbers of the regions of some spots, their count for none, encoded for the script of the page."""
        codes = pd.Index(list(self.colors)).get_indexer(self.regions[rows])
        return packed(np.where(codes < 0, len(self.colors), codes), "u2")

    def legend(self) -> list[dict[str, str]]:
        """Return name and colour of every region."""
        return [{"name": name, "color": color} for name, color in self.colors.items()]

    def compared(self, domains: pd.Categorical) -> dict[str, Any]:
        """Return the agreement with domains, and their spots by region."""
        score = score_annotation(self.regions, domains)
        number = {name: place for place, name in enumerate(self.colors)}
        rows = [
            {
                "domain": str(name),
                "n": int(counts.sum()),
                "counts": [int(n) for n in counts],
                "region": score.region_of[str(name)],
                "share": float(counts.max() / counts.sum()) if counts.sum() else None,
            }
            for name, counts in score.counts.iterrows()
        ]
        return {
            "key": self.key,
            "regions": [{"name": name, "color": self.colors[name]} for name in score.counts.columns],
            "rows": rows,
            **_numbers(score),
            "colors": list(self.colors.values()),
            "names": list(self.colors),
            "stands_for": [number.get(region, -1) for region in score.region_of.values()],  # type: ignore[arg-type]
        }

    def numbers(self, domains: pd.Categorical, rows: np.ndarray) -> dict[str, Any]:
        """Return the scores of some spots; ``ari`` and ``nmi`` are None with less than two regions."""
        return _numbers(score_annotation(self.regions[rows], domains[rows]))


def _numbers(score: AnnotationScore) -> dict[str, Any]:
    return {
        "ari": finite(score.ari), "nmi": finite(score.nmi), "share": finite(score.share), "n_spots": score.n_spots,
    }  # fmt: skip
