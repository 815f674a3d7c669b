"""Check that sections belong to one study: names, shared genes, units and places."""

from collections.abc import Mapping

from anndata import AnnData

from histoquilt._base import Keys, listed
from histoquilt.study._slots import Slots
from histoquilt.study._study import Study


def check_study(sections: Mapping[str, AnnData] | Study, *, spatial_key: str = Keys.SPATIAL) -> list[str]:
    """Check that sections can be analysed together, before any long work.

    Parameters
    ----------
    sections
        Section name -> AnnData, or a Study; not changed.
    spatial_key
        Key in ``obsm`` of the spot centres. Units are known for ``"spatial"`` only.

    Returns
    -------
    The genes (``var_names``) that all sections have, in the order of the first section; empty if no section has genes,
    as with sections that have an embedding instead.

    Raises
    ------
    TypeError, KeyError
        ``sections`` is not a mapping from name to AnnData, or a section has no spot centres.
    ValueError
        There is no section; names repeat or cannot name a file; a section fails the checks of
        :meth:`histoquilt.study.Study.of`; units differ; ``z_um``, ``x_um`` or ``y_um`` are given for some sections only
        or vary inside one; or too few genes are shared (a warning if less than half).

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
    study = Study.of(sections, sections.slots if isinstance(sections, Study) else Slots(spatial_key=spatial_key))
    if spatial_key == Keys.SPATIAL:
        study.check_units()
    given = {column: study.places(column) is not None for column in Keys.PLACE}
    if given["x_um"] != given["y_um"]:
        raise ValueError("Of x_um and y_um only one is given. A place in the plane needs both, or none.")
    return study.shared_genes()


def check_names(names: list[str]) -> None:
    """Raise ``ValueError`` unless section names are unique and can name files.

    Examples
    --------
    >>> from histoquilt.study import check_names
    >>> check_names(["s1", "s2"])
    >>> check_names(["case/1"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: A section's name becomes a file name, so it cannot be empty or hold a slash: ...
    """
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
