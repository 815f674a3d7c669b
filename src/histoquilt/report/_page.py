"""The page of domains: gather what its sections hold, and write it."""

import os
from collections.abc import Mapping
from functools import partial
from typing import Any

from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import library_column
from histoquilt.report._facts import run_facts, study_facts
from histoquilt.report._gather import MAX_SPOTS, gather
from histoquilt.report._map import fair_shares
from histoquilt.report._render import as_json, write_page
from histoquilt.report._study import gather_study
from histoquilt.study import check_adata


def write_report(
    sections: AnnData | Mapping[str, AnnData],
    path: str | os.PathLike[str],
    *,
    study: AnnData | None = None,
    title: str = "Tissue domains",
    run: Mapping[str, Any] | None = None,
    domain_key: str = Keys.DOMAIN,
    spatial_key: str = Keys.SPATIAL,
    section_key: str | None = None,
    layer: str | None = None,
    links: Mapping[str, str] | None = None,
) -> None:
    """Write an HTML report of the domains of one or several sections.

    Parameters
    ----------
    sections
        One AnnData, or a dict from name to AnnData; not changed. ``obs[domain_key]`` and ``obsm[spatial_key]`` are
        required. Shown if present: the image in ``uns["spatial"]``, ``obs["domain_confidence"]``,
        ``uns["domain_markers"]``, ``obsm["denoised"]``, and the training history, the curve of the number of domains
        and the parameters in ``uns["histoquilt"]``.
    path
        Path of the file, written completely or not at all. An existing file is replaced.
    study
        All sections in one AnnData, as returned by :func:`histoquilt.tl.integrate_sections`; not changed. The page then
        begins with the joint results: an overview in shared colours (with ``obsm["spatial_aligned"]`` also in one
        frame), one table of markers, the mixing of sections before and after integration
        (``uns["histoquilt"]["mixing"]``), the links used (``uns["histoquilt"]["integration"]``), and training.
        ``sections`` may then be the same AnnData: it is split by ``section_key``.
    title
        Headline of the page.
    run
        Contents of ``run.json``: version, seed, wall time, peak memory, input digests, warnings. Unknown entries are
        listed as they are.
    domain_key, spatial_key
        Column of ``obs`` with the domains, and key in ``obsm`` of the spot centres.
    section_key
        Column of ``obs`` that distinguishes several sections of one AnnData; by default ``section`` or ``library_id``.
    layer
        Layer with the counts; by default ``layers["counts"]``, else ``X``.
    links
        Link text -> address of further pages, shown at the top of this one.

    Raises
    ------
    TypeError
        A section is not an AnnData.
    KeyError
        A section has no domains or no coordinates.
    ValueError
        There is no section, coordinates are unusable, or a section has domains that ``study`` does not have.

    Notes
    -----
    At most 100,000 spots are drawn for all sections together; of larger ones an even sample is shown, and the page
    states so. Tables always count every spot. For the same input and ``run`` the page is identical byte for byte.
    """
    if isinstance(sections, AnnData) and study is not None:
        named = _taken_apart(sections, section_key)
    elif isinstance(sections, AnnData):
        named = {"": sections}
    else:
        named = {str(name): adata for name, adata in sections.items()}
    if not named:
        raise ValueError("There is no section to report on. Pass an AnnData, or a dict from name to AnnData.")
    for adata in named.values():
        check_adata(adata)
    budgets = fair_shares([adata.n_obs for adata in named.values()], MAX_SPOTS)
    read = partial(gather, domain_key=domain_key, spatial_key=spatial_key, section_key=section_key, layer=layer)
    told = run or {}
    joint = None
    if study is not None:
        joint = gather_study(study, domain_key=domain_key, spatial_key=spatial_key, section_key=section_key)
        read = partial(read, shared=joint.shared)
    groups = [read(adata, name, number, budgets[number]) for number, (name, adata) in enumerate(named.items())]
    write_page(
        path,
        "_template.html",
        "_script.js",
        title=title,
        links=links,
        groups=groups,
        study=joint,
        group_of={group.name: group.number for group in groups},
        chosen=any(one.stability and one.stability["how"] == "chosen" for one in ([joint] if joint else groups)),
        study_data="" if joint is None else as_json(joint.payload()),
        facts=run_facts(list(named.values()), told) if study is None else study_facts(study, len(named), told),
        n_spots=sum(group.n_spots for group in groups),
        n_sections=sum(len(group.maps) for group in groups),
        data=as_json([group.payload() for group in groups]),
    )


def _taken_apart(study: AnnData, section_key: str | None) -> dict[str, AnnData]:
    """Return the sections of a study by name, each with its own image, spot names and coordinates."""
    from histoquilt.io import split_sections

    check_adata(study)
    return split_sections(study, section_key or library_column(study) or Keys.SECTION)
