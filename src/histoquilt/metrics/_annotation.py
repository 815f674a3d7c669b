"""Domains against a pathologist's annotation: agreement, and which domain is which region."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from histoquilt.metrics._agreement import ari, nmi

NO_REGION = ("undetermined", "unknown", "unlabelled", "unlabeled", "unassigned", "nan", "none", "na", "n/a")
"""What annotators write where they could not tell; compared without regard to case."""


def named_regions(labels: ArrayLike, unlabelled: Sequence[str] = NO_REGION) -> np.ndarray:
    """Return labels as text ``(n_spots,)``, None where they name no region.

    Parameters
    ----------
    labels
        Annotation ``(n_spots,)``; missing values and empty text name no region.
    unlabelled
        Words that name no region, case-insensitive.

    Examples
    --------
    >>> named_regions(["tumour", "Undetermined", None]).tolist()
    ['tumour', None, None]
    """
    words = {"", *(str(word).strip().casefold() for word in unlabelled)}
    values = pd.Series(labels).astype(object)
    texts = values.where(values.notna(), "").map(str)
    return np.array([None if text.strip().casefold() in words else text for text in texts], dtype=object)


@dataclass(frozen=True, eq=False)
class AnnotationScore:
    """Agreement of domains with an annotation, over the spots that have both.

    Attributes
    ----------
    ari, nmi
        Adjusted Rand index (:func:`ari`) and normalised mutual information (:func:`nmi`); NaN unless the annotation
        names two regions.
    n_spots
        Number of spots with a domain and a region.
    share
        Share of these spots in the region that their domain mostly lies in. It grows with the number of domains.
    counts
        Spots by domain (rows, all of them) and region (columns).
    region_of
        Domain -> the region with most of its spots; None for a domain without annotated spots.

    Examples
    --------
    >>> import histoquilt as hq
    >>> score = hq.metrics.score_annotation(["tumour", "tumour", "stroma", "stroma"], ["1", "1", "1", "2"])
    >>> score.n_spots, score.share, score.region_of
    (4, 0.75, {'1': 'tumour', '2': 'stroma'})
    >>> score.counts.loc["1"].to_dict()
    {'stroma': 1, 'tumour': 2}
    """

    ari: float
    nmi: float
    n_spots: int
    share: float
    counts: pd.DataFrame
    region_of: dict[str, str | None]


def score_annotation(
    annotation: ArrayLike, domains: ArrayLike, *, unlabelled: Sequence[str] = NO_REGION
) -> AnnotationScore:
    """Compare domains with an annotation, and find the region that each domain stands for.

    Parameters
    ----------
    annotation
        Region of each spot, ``(n_spots,)``; missing where there is none.
    domains
        Domain of each spot, ``(n_spots,)``.
    unlabelled
        Words that name no region, case-insensitive; their spots are not scored.

    Returns
    -------
    :class:`AnnotationScore`

    Raises
    ------
    ValueError
        The lengths differ.

    Examples
    --------
    >>> score = score_annotation(["tumour", "tumour", "stroma", None], ["1", "1", "2", "2"])
    >>> score.ari, score.n_spots, score.region_of
    (1.0, 3, {'1': 'tumour', '2': 'stroma'})
    """
    regions, found = named_regions(annotation, unlabelled), pd.Categorical(pd.Series(domains))
    if len(regions) != len(found):
        raise ValueError(f"annotation has {len(regions):,} spots and domains {len(found):,}. Both need one per spot.")
    names = [str(name) for name in found.categories]
    both = (found.codes >= 0) & (regions != None)  # noqa: E711  # element by element
    columns = sorted(set(regions[both]))
    counts = pd.crosstab(
        pd.Categorical(np.array(names, dtype=object)[found.codes[both]], categories=names),
        pd.Categorical(regions[both], categories=columns),
        dropna=False,
    )
    counts = counts.reindex(index=names, columns=columns, fill_value=0).rename_axis(index="domain", columns="region")
    best = {name: str(row.idxmax()) if row.sum() else None for name, row in counts.iterrows()}
    n_spots, distinct = int(both.sum()), len(columns) > 1
    return AnnotationScore(
        ari=ari(regions[both], found.codes[both]) if distinct else float("nan"),
        nmi=nmi(regions[both], found.codes[both]) if distinct else float("nan"),
        n_spots=n_spots,
        share=float(counts.max(axis=1).sum() / n_spots) if n_spots else float("nan"),
        counts=counts,
        region_of={str(name): region for name, region in best.items()},
    )
