"""Page of domains."""

import os
from collections.abc import Mapping
from typing import Any

from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.draw import library_column
from histoquilt.report._facts import run_facts
from histoquilt.report._genes import BESIDE_BYTES, embed_genes
from histoquilt.report._map import fair_shares
from histoquilt.report._render import as_json, write_page
from histoquilt.report.domains._domains import DomainData, describe_section, domains_payload
from histoquilt.report.domains._study import describe_study
from histoquilt.study import check_adata, split_sections

MAX_SPOTS = 100_000  # spots drawn on one page, which keeps it below some 5 MB


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
    label_key: str | None = None,
    links: Mapping[str, str] | None = None,
) -> None:
    """Write an HTML report of the domains of one or several sections.

    Parameters
    ----------
    sections
        One AnnData, or a dict from name to AnnData; not changed. ``obs[domain_key]`` and ``obsm[spatial_key]`` are
        required. Shown if present: the image in ``uns["spatial"]``, ``obs["domain_confidence"]``,
        ``obs["domain_stability"]`` and that of levels, ``uns["domain_markers"]``, ``obsm["denoised"]``, and
        training, stability curve and parameters in ``uns["histoquilt"]``.
    path
        Path of the file, written atomically; an existing file is replaced. Expression of more genes than fit into the
        page (2.5 MB, markers and variable genes first) is written beside it, to ``<name>.genes.js`` (30 MB at most),
        from where the page loads it when one of them is asked for.
    study
        All sections in one AnnData, as returned by :func:`histoquilt.tl.integrate_sections`; not changed. The page then
        begins with the joint results: an overview in shared colours (also in one frame, with
        ``obsm["spatial_aligned"]``), markers, mixing before and after integration (``uns["histoquilt"]["mixing"]``),
        links (``uns["histoquilt"]["integration"]``) and training. ``sections`` may then be the same AnnData.
    title
        Headline of the page.
    run
        Contents of ``run.json``: version, seed, wall time, peak memory, input digests, warnings.
    domain_key, section_key
        Columns of ``obs`` with domains, and with sections of one AnnData (by default ``section`` or ``library_id``).
    spatial_key, layer
        Key in ``obsm`` of the spot centres; layer with the counts, by default ``layers["counts"]``, else ``X``.
    label_key
        Column of ``obs`` with an annotation to compare domains with; by default what
        :func:`histoquilt.tl.annotate_spots` wrote, if anything. Spots whose label names no region (``undetermined``)
        are not compared.
    links
        Link text -> address of further pages, shown at the top of this one.

    Raises
    ------
    TypeError, KeyError
        A section is not an AnnData, or has no domains or coordinates.
    ValueError
        There is no section, coordinates are unusable, or a section has domains that ``study`` does not have.

    Notes
    -----
    At most 100,000 spots are drawn for all sections together, an even sample of larger ones; tables count every spot.
    For the same input and ``run`` the page is identical byte for byte.

    Examples
    --------
    >>> import histoquilt as hq, os, tempfile
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=60, n_domains=3, seed=0)
    >>> hq.tl.spatial_domains(adata, n_domains=3, progress=False)
    >>> page = os.path.join(tempfile.mkdtemp(), "report.html")
    >>> hq.report.write_report(adata, page, title="Toy tissue")
    >>> os.path.exists(page)
    True
    """
    if not isinstance(sections, AnnData):
        named = {str(name): adata for name, adata in sections.items()}
    elif study is None:
        named = {"": sections}
    else:
        named = split_sections(sections, section_key or library_column(sections) or Keys.SECTION)
    if not named:
        raise ValueError("There is no section to report on. Pass an AnnData, or a dict from name to AnnData.")
    for adata in (*named.values(), *([] if study is None else [study])):
        check_adata(adata)
    keys: dict[str, Any] = {"domain_key": domain_key, "spatial_key": spatial_key, "label_key": label_key}
    joint = None if study is None else DomainData(study, **keys)
    overview = None if joint is None else describe_study(joint, section_key)
    budgets = fair_shares([adata.n_obs for adata in named.values()], MAX_SPOTS)
    groups, packed = [], []
    for number, (name, adata) in enumerate(named.items()):
        data = DomainData(adata, **keys, joint=joint)
        groups.append(describe_section(data, name, number, budgets[number], section_key=section_key, layer=layer))
        packed.append(data.pack_genes(groups[-1]["drawn"], layer, BESIDE_BYTES // len(named)))
    for group, genes in zip(groups, embed_genes(packed, path), strict=True):
        group["choice"] = genes
    shown = [overview] if overview else groups
    facts = run_facts(list(named.values()) if study is None else [study], run or {})
    agreement = [part["annotation"]["ari"] for part in shown if part["annotation"]]
    if len(agreement) == 1 and agreement[0] is not None:
        facts["cards"].append(("ARI with the annotation", f"{agreement[0]:.3f}"))
    if study is not None:
        facts["cards"].insert(0, ("Sections", f"{len(named):,}"))
    write_page(
        path,
        "_template.html",
        "_explorer.js",
        "_script.js",
        title=title,
        links=links,
        groups=groups,
        study=overview,
        group_of={group["name"]: group["number"] for group in groups},
        chosen=any(part["stability"] and part["stability"]["how"] == "chosen" for part in shown),
        study_data=None if overview is None else as_json(domains_payload(overview, "overview", "aligned", "levels")),
        facts=facts,
        data=as_json([domains_payload(group, "maps", "genes", "levels", "choice", "annotation") for group in groups]),
    )
