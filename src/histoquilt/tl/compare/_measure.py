"""What is compared of every section: spots, neighbours and shape of its domains, and sums of counts."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from histoquilt._base import is_installed
from histoquilt.gr import grid_adjacency, knn_adjacency, lattice_neighbors
from histoquilt.metrics import SHAPE_MEASURES, centred_log_ratio, neighbour_enrichment
from histoquilt.runtime import warn_user
from histoquilt.study import Section, Study, as_categories, check_obs_key, row_chunks, spot_pitch
from histoquilt.tl.compare._shape import PURPOSE, domain_shapes

_COLUMNS = 200  # stored values of a spot, about: sets how many spots are read at a time


@dataclass(frozen=True)
class Labels:
    """Domains of all sections, by one numbering.

    Attributes
    ----------
    domains
        Names of the domains.
    codes
        Section -> number of the domain of each spot, negative for none.
    """

    domains: list[str]
    codes: dict[str, np.ndarray]

    @classmethod
    def of(cls, study: Study, domain_key: str) -> "Labels":
        """Read the labels; raise if a section has none, or there are fewer than two domains."""
        columns = {}
        for name, section in study.items():
            check_obs_key(section.view, domain_key, argument="domain_key")
            columns[name] = as_categories(section.view, domain_key)
            if (columns[name].codes < 0).all():
                raise ValueError(f"obs[{domain_key!r}] of section {name!r} is empty. Find its domains, or drop it.")
        present = {
            column.categories[code]
            for column in columns.values()
            for code in np.unique(column.codes[column.codes >= 0])
        }
        domains = sorted(present, key=_natural)
        if len(domains) < 2:
            raise ValueError(f"obs[{domain_key!r}] holds one domain, {domains[0]!r}; at least two are compared.")
        codes = {
            name: np.append(pd.Index(domains).get_indexer(column.categories), -1)[column.codes]
            for name, column in columns.items()
        }
        return cls(domains, codes)

    @cached_property
    def counts(self) -> pd.DataFrame:
        """Spots of each domain, ``(n_sections, n_domains)``."""
        rows = [np.bincount(codes[codes >= 0], minlength=len(self.domains)) for codes in self.codes.values()]
        return pd.DataFrame(rows, index=list(self.codes), columns=pd.Index(self.domains, name="domain"))

    @property
    def proportions(self) -> pd.DataFrame:
        """Share of the labelled spots, ``(n_sections, n_domains)``."""
        return self.counts.div(self.counts.sum(axis=1), axis=0)

    @property
    def log_ratios(self) -> pd.DataFrame:
        """Centred log-ratios (log2), ``(n_sections, n_domains)``."""
        ratios = centred_log_ratio(self.counts.to_numpy())
        return pd.DataFrame(ratios, index=self.counts.index, columns=self.counts.columns)

    def enrichment(self, study: Study) -> pd.DataFrame:
        """Return the enrichment of neighbours, ``(n_sections, n_pairs)``, columns ``domain, neighbour``."""
        first, second = np.triu_indices(len(self.domains))
        rows = [
            neighbour_enrichment(codes, _direct_neighbours(study[name].centres), len(self.domains))[first, second]
            for name, codes in self.codes.items()
        ]
        names = np.array(self.domains, dtype=object)
        columns = pd.MultiIndex.from_arrays([names[first], names[second]], names=["domain", "neighbour"])
        return pd.DataFrame(rows, index=list(self.codes), columns=columns)

    def shapes(self, study: Study, unit: str) -> pd.DataFrame:
        """Return log2 of the shape measures, ``(n_sections, n_domains * 5)``; without columns if shapely is missing."""
        columns = pd.MultiIndex.from_product([self.domains, SHAPE_MEASURES], names=["domain", "measure"])
        if not is_installed("shapely"):
            warn_user(f"{PURPOSE} is left out: it needs shapely. Install it with: pip install 'histoquilt[export]'")
            return pd.DataFrame(index=list(self.codes), columns=columns[:0], dtype=float)
        rows = [
            np.log2(domain_shapes(_points(study[name], unit), codes, len(self.domains))).ravel()
            for name, codes in self.codes.items()
        ]
        return pd.DataFrame(rows, index=list(self.codes), columns=columns)


def length_unit(study: Study) -> str:
    """Return ``um`` if microns are known for all sections, else ``pitch``."""
    try:
        for section in study.values():
            section.mpp  # noqa: B018  # raises if unknown
    except ValueError:
        return "pitch"
    return "um"


def sum_counts(section: Section, codes: np.ndarray, genes: Sequence[str], n_domains: int) -> np.ndarray:
    """Return the sum of raw counts of each domain and gene, ``(n_domains, n_genes)``.

    Raises ``ValueError`` if the section has no raw counts.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*have no counts.*")
        source = section.expression
    if source.scale != "counts":
        raise ValueError(f"{source.name} of section {section.name!r} holds {source.scale}, not raw counts.")
    total = np.zeros((n_domains, len(source.genes)))
    for rows in row_chunks(source.matrix.shape[0], _COLUMNS):
        inside = codes[rows]
        labelled = np.flatnonzero(inside >= 0)
        one_hot = csr_matrix((np.ones(len(labelled)), (inside[labelled], labelled)), shape=(n_domains, len(inside)))
        total += (one_hot @ source.matrix[rows]).toarray()
    column = {gene: place for place, gene in enumerate(source.genes)}
    return total[:, [column[gene] for gene in genes]]


def _points(section: Section, unit: str) -> np.ndarray:
    return section.microns if unit == "um" else section.centres / spot_pitch(section.centres)


def _direct_neighbours(centres: np.ndarray) -> csr_matrix:
    """Return the links of a lattice to its direct neighbours, of scattered cells to the six nearest."""
    n_neighbors = lattice_neighbors(centres)
    return knn_adjacency(centres, 6) if n_neighbors is None else grid_adjacency(centres, n_neighbors)


def _natural(name: str) -> tuple[object, ...]:
    """Return a key that sorts ``2`` before ``10``, ``3.2`` before ``3.10``, and numbers before text."""
    parts = name.split(".")
    return (0, *map(int, parts)) if all(part.isdigit() for part in parts) else (1, name)
