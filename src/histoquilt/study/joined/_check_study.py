"""Do sections belong into one study: names, genes they share, units of their coordinates, places in the study."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, argument, listed, message_of
from histoquilt.runtime import logger, warn_user
from histoquilt.study._checks import check_adata
from histoquilt.study._genes import detect_gene_ids
from histoquilt.study.joined._one_section import check_one_section

# Sections of one platform share nearly all genes, a panel and a whole transcriptome all of the panel. Less than a
# tenth of the smallest section's genes is an accident (other identifiers, another species); below half, domains rest
# on a minority of what was measured.
_LEAST_SHARED = 0.1
_FEW_SHARED = 0.5


def check_study(sections: Mapping[str, AnnData], *, spatial_key: str = Keys.SPATIAL) -> list[str]:
    """Make sure that sections can be analysed together, before any long work.

    Parameters
    ----------
    sections
        Section name -> AnnData. Nothing is changed.
    spatial_key
        Where the spot centres are. Units are known for ``"spatial"`` only.

    Returns
    -------
    The genes (``var_names``) that all sections have, in the order of the first section. Empty only where no section
    has genes at all, as with sections that carry an embedding.

    Raises
    ------
    TypeError
        ``sections`` is no mapping from name to AnnData.
    KeyError
        A section has no spot centres.
    ValueError
        There is no section; two have the same name, or a name cannot name a file; a section has no spots, repeated
        spot names or unusable coordinates, or is several itself (:func:`check_one_section`); coordinates are in
        different units; ``z_um``, ``x_um`` or ``y_um`` are given for some sections only or vary inside one; or too few
        genes are shared.

    Warns
    -----
    UserWarning
        Less than half of the smallest section's genes are shared.

    Examples
    --------
    >>> import histoquilt as hq
    >>> a, b = (hq.datasets.toy_section(n_spots=120, n_genes=30, n_domains=2, seed=seed) for seed in (0, 0))
    >>> len(check_study({"a": a, "b": b[:, :20].copy()}))
    20
    """
    if not isinstance(sections, Mapping):
        raise TypeError(
            f"Expected a dict from section name to AnnData, got {type(sections).__name__}. Several sections in one "
            "AnnData: histoquilt.io.split_sections(adata)."
        )
    if not sections:
        raise ValueError("There is no section. Pass a dict from section name to AnnData.")
    check_names([str(name) for name in sections])
    for name, adata in sections.items():
        with about_section(name):
            check_adata(adata)
            check_one_section(adata, spatial_key=spatial_key)
            _check_place(adata)
    if spatial_key == Keys.SPATIAL:
        _check_units(sections)
    for column in Keys.PLACE:
        check_all_or_none(column, {name: column in adata.obs for name, adata in sections.items()})
    return _shared_genes(sections)


def check_names(names: list[str]) -> None:
    """Raise ``ValueError`` unless names are unique and can name a file and a group in an ``.h5ad``."""
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(
            f"Section names must be unique; repeated: {listed(repeated)}. Results are filed under the name: "
            "give every section its own."
        )
    bad = [name for name in names if not name.strip() or name in {".", ".."} or set(name) & set("/\\\0")]
    if bad:
        raise ValueError(
            f"A section's name becomes a file name, so it cannot be empty or hold a slash: {listed(bad)}. Rename it."
        )


def check_all_or_none(column: str, given: Mapping[str, bool]) -> None:
    """Raise ``ValueError`` where a column is given for some sections and not for others."""
    without = [name for name, has in given.items() if not has]
    if without and len(without) < len(given):
        raise ValueError(
            f"{column} is given for {len(given) - len(without)} of {len(given)} sections, and missing for "
            f"{listed(without)}. Give it for every section, or for none."
        )


@contextmanager
def about_section(name: str) -> Iterator[None]:
    """Name the section in an error of our own checks."""
    try:
        yield
    except KeyError as error:
        raise KeyError(f"Section {name!r}: {message_of(error)}") from error
    except (TypeError, ValueError) as error:
        raise type(error)(f"Section {name!r}: {error}") from error


def _check_place(adata: AnnData) -> None:
    """Raise unless the place of a section is one number each, and x and y come together."""
    for column in Keys.PLACE:
        if column not in adata.obs:
            continue
        values = pd.to_numeric(adata.obs[column].astype(object), errors="coerce").to_numpy(dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"obs[{column!r}] must hold microns; some values are missing or no numbers.")
        if len(np.unique(values)) > 1:
            raise ValueError(
                f"obs[{column!r}] is where the whole section lies, so it must be one number; found "
                f"{len(np.unique(values))} from {values.min():g} to {values.max():g}. Sections in one file are told "
                f"apart by {argument('section_key')}."
            )
    if ("x_um" in adata.obs) != ("y_um" in adata.obs):
        raise ValueError("Of x_um and y_um only one is given. A place in the plane needs both, or none.")


def _check_units(sections: Mapping[str, AnnData]) -> None:
    """Raise where two sections are known to be in different units."""
    records = {name: adata.uns.get(Keys.UNS, {}).get(Keys.COORDINATES, {}) for name, adata in sections.items()}
    by_unit: dict[str, list[str]] = {}
    for name, record in records.items():
        by_unit.setdefault(str(record.get("unit", "unknown")), []).append(name)
    undeclared = by_unit.pop("unknown", [])
    if len(by_unit) > 1:
        found = "; ".join(f"{unit}: {listed(names, 4)}" for unit, names in by_unit.items())
        raise ValueError(
            f"The sections' coordinates are in different units ({found}), so they cannot be laid over each other. "
            "Bring them to one unit (microns = pixels x mpp), and say which: histoquilt.io.record_coordinates(adata, "
            "'micron'). Is one of them recorded wrongly?"
        )
    if by_unit and undeclared:
        [unit] = by_unit
        logger.info("Coordinates of %s are of unknown unit, those of the others in %s.", listed(undeclared), unit)


def _shared_genes(sections: Mapping[str, AnnData]) -> list[str]:
    """Return the genes that all sections have, or raise when they are too few."""
    genes = {name: adata.var_names for name, adata in sections.items()}
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
    """Say what most likely keeps genes from being shared."""
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
