"""Domains that several sections share, with batch effects removed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, PatchEncoder
from histoquilt.align import match_duplicate_spots, stitch_sections
from histoquilt.gr import mutual_nearest_links, stack_links
from histoquilt.models import (
    DomainModel,
    FeatureModel,
    ImageRole,
    ImageUse,
    Made,
    ModelConfig,
    NewEmbeddings,
    SharedFactors,
    SpatialFactors,
    SpatialFactorsConfig,
)
from histoquilt.runtime import logger
from histoquilt.study import (
    Sections,
    Slots,
    Study,
    check_obsm_key,
    concat_sections,
    keep_foreign,
    provenance,
    spot_centres,
    write_result,
)
from histoquilt.tl._align import align_sections
from histoquilt.tl._domains import fresh_model, genes_to_denoise
from histoquilt.tl._domains_of_model import Clustering, DomainSearch, NumberOfDomains, Refinement, check_search
from histoquilt.tl._memory import Job, check_memory_suffices
from histoquilt.tl._mixing import write_mixing

if TYPE_CHECKING:
    import torch

Links = Literal["auto", "stack", "expression", "stitched", "none"]


def integrate_sections(
    sections: Sections,
    n_domains: NumberOfDomains = None,
    *,
    section_key: str = Keys.SECTION,
    links: Links = "auto",
    n_links: int = 3,
    config: ModelConfig | None = None,
    model: DomainModel | None = None,
    layer: str | None = None,
    use_rep: str | None = None,
    image: ImageRole | None = None,
    image_key: str | Sequence[str] | None = None,
    encoder: str | PatchEncoder | None = None,
    spatial_key: str = Keys.SPATIAL,
    refine: Refinement = True,
    clustering: Clustering = "mixture",
    denoise: bool | Sequence[str] = False,
    mixing: bool = True,
    key_added: str = Keys.DOMAIN,
    embedding_key: str = Keys.EMBEDDING,
    seed: int = 0,
    device: "str | torch.device" = "auto",
    progress: bool = True,
    check_memory: bool = True,
) -> AnnData:
    """Find the domains that several sections share: one embedding, one set of domains.

    Variable genes are chosen and scaled section by section, principal components and spatial factors are common. Every
    spot is linked to its neighbours in its own section and, where the sections' relation is known, to spots of others;
    one model is trained on all of them, and one mixture gives the domains.

    Parameters
    ----------
    sections
        Several AnnData, a dict from name to AnnData, one AnnData with ``obs[section_key]``, or the path of a
        ``samples.csv`` (:meth:`histoquilt.study.Study.of`). They are not changed.
    n_domains
        Number of domains, as for :func:`spatial_domains`.
    section_key
        Column of ``obs`` that names the sections.
    links
        Linking of spots of different sections.

        ``"stack"`` : serial sections. Each spot to its ``n_links`` nearest in each adjacent section, in the plane of
        ``obsm["spatial_aligned"]`` (made with :func:`align_sections` if it is absent), however far apart the
        sections are. Their order is that of ``obs["z_um"]``, or of the sections if it is absent.

        ``"expression"`` : any sections, also of different patients. Mutual nearest neighbours, in expression smoothed
        within each section.

        ``"stitched"`` : pieces of one section, side by side and overlapping. All spots make one tissue in the plane of
        ``obsm["spatial_aligned"]`` (made with :func:`stitch_sections` if it is absent); genes are scaled together.
        A spot of a later piece that lies within half a pitch of one of an earlier piece is the same spot measured
        again: it is not used for fitting, and gets the results of the other.

        ``"none"`` : no links; sections share features, network and domains only.

        ``"auto"`` : ``"stack"`` where ``obs["z_um"]`` is given, else ``"expression"``.
    n_links
        Number of links of each spot into each other section that it is linked to.
    config, model, layer, use_rep, spatial_key, refine, clustering, key_added, embedding_key, seed, device, progress
        Arguments as for :func:`spatial_domains`; ``use_rep`` must have the same meaning in all sections.
    image, image_key, encoder
        Use of the images, as for :func:`spatial_domains`; all sections need one, embedded by the same encoder. Image
        features are standardised in each section, and links between sections are not weighed.
    denoise
        If true, write denoised expression of the modelled genes; or names of the genes to write.
    check_memory
        Argument as for :func:`spatial_domains`; the sections themselves are in memory by then.
    mixing
        If true, measure the mixing of sections before and after integration, compared with Harmony (which needs the
        ``leiden`` extra and is left out without it).

    Returns
    -------
    A new AnnData of all spots on the shared genes (:func:`histoquilt.io.concat_sections`), with what
    :func:`spatial_domains` writes, and

    ``obsm["X_joint"]`` : spatial factors smoothed within each section, from which the integration starts
    ``obsp["section_links"]`` : CSR, the links between sections, if there are any
    ``obsm["spatial_aligned"]`` : aligned coordinates of serial or stitched sections, microns
    ``uns["histoquilt"]["integration"]`` : kind, order and number of links, number of shared genes
    ``uns["histoquilt"]["mixing"]`` : :func:`histoquilt.metrics.mixing_table` of the embeddings ``before``, ``harmony``
    and ``histoquilt``

    ``obsp["spatial_connectivities"]`` is the graph within sections.

    Raises
    ------
    KeyError, ValueError
        As for :func:`spatial_domains`, :func:`histoquilt.io.check_study` and the alignment; or there is a single
        section, or ``links`` is unknown.

    References
    ----------
    Min, Fang, Chen, Zhang. PLOS Computational Biology 21(4): e1012881, 2025 (integration).
    Haghverdi, Lun, Morgan, Marioni. Nature Biotechnology 36: 421-427, 2018 (mutual nearest neighbours).

    Examples
    --------
    >>> import histoquilt as hq
    >>> two = hq.datasets.toy_section(n_spots=300, n_genes=200, n_domains=4, n_sections=2, seed=0)
    >>> joint = hq.tl.integrate_sections(two, 4, mixing=False, progress=False)
    >>> joint.obs.groupby("section", observed=True)["domain"].nunique().tolist()
    [4, 4]
    """
    if links not in get_args(Links):
        raise ValueError(f"links must be one of {', '.join(map(repr, get_args(Links)))}, got {links!r}.")
    model = fresh_model(model, config)
    image_use = ImageUse.of(image, image_key, encoder, model=model, use_rep=use_rep)
    joint, order, slots, new = _join(sections, Slots(spatial_key, section_key, layer), image_use, model)
    section_key = slots.section_key
    keys: dict[str, Any] = {"section_key": section_key, "spatial_key": slots.spatial_key}
    source: dict[str, Any] = {"layer": slots.layer, "use_rep": use_rep}
    check_search(n_domains, clustering, refine, joint.n_obs)
    if use_rep is not None:
        check_obsm_key(joint, use_rep, argument="use_rep")
    genes = genes_to_denoise(joint, denoise, use_rep, model)
    links = _links_for(joint) if links == "auto" else links
    if check_memory and isinstance(model, FeatureModel):
        check_memory_suffices(Job.of(joint, model, **source, several=True, genes=genes))
    if new is not None:
        new.write(joint, joined=True, progress=progress)
    _align(joint, links, **keys, **source, seed=seed, progress=progress)
    whole, rows, keys = _tissue(joint, links, keys)
    made = Made(model.graph(whole, **keys), features={})
    _write_joint_factors(whole, model, made, source, keys)
    between = _links_between(whole, links, n_links, section_key, order)
    search = DomainSearch(
        model=model, n_domains=n_domains, genes=genes, **source, refine=refine, clustering=clustering,
        key_added=key_added, embedding_key=embedding_key, seed=seed, device=device, progress=progress,
    )  # fmt: skip
    search.run(whole, made, **keys, links=between)
    _copy_to_all_spots(whole, joint, rows, key_added, embedding_key)
    (made.graph if rows is None else model.graph(joint, **keys)).write(joint)
    facts = {"n_measured_twice": joint.n_obs - whole.n_obs, "seed": seed}
    _write_links(joint, links, between, n_links, order, section_key, facts)
    if mixing:
        write_mixing(joint, section_key=section_key, **source, embedding_key=embedding_key, seed=seed)
    return joint


def _align(joint: AnnData, links: Links, **options: Any) -> None:
    """Align or stitch the sections if links depend on their places and these are not there yet."""
    if links in ("stack", "stitched") and Keys.ALIGNED not in joint.obsm:
        (align_sections if links == "stack" else stitch_sections)(joint, **options)


def _join(
    sections: Sections, slots: Slots, image_use: ImageUse | None, model: DomainModel
) -> tuple[AnnData, list[str], Slots, NewEmbeddings | None]:
    """Return all spots in one AnnData, the order of the stack, where parts lie, and images to embed, if any.

    Copies of sections that one AnnData held are let go unless their images are embedded.
    """
    study = Study.of(sections, slots)
    if len(study) < 2:
        raise ValueError(
            f"Integration needs at least two sections, got {', '.join(study) or 'none'}. "
            "One section: histoquilt.tl.spatial_domains."
        )
    new = None if image_use is None else image_use.configure(study, model)
    slots = study.slots
    joint = concat_sections(study, section_key=slots.section_key, spatial_key=slots.spatial_key)
    return joint, study.stack_order(), slots, new


def _write_links(
    joint: AnnData,
    links: Links,
    between: csr_matrix | None,
    n_links: int,
    order: list[str],
    section_key: str,
    facts: dict[str, Any],
) -> None:
    """Write the links between sections, if there are any, and record in ``uns`` how sections were linked."""
    if between is not None:
        joint.obsp[Keys.SECTION_LINKS] = between
    record = {
        "links": links,
        "n_links": 0 if between is None else n_links,
        "n_linked_spots": 0 if between is None else int((np.diff(between.indptr) > 0).sum()),
        "z_given": "z_um" in joint.obs,
        "sections": ", ".join(order),
        "n_shared_genes": joint.n_vars,
        **facts,
    }
    if links == "stack" and record["z_given"]:
        z = joint.obs.groupby(section_key, observed=True)["z_um"].first().astype(float)
        record["z_um"] = ", ".join(f"{value:g}" for value in z[order])
    provenance(joint)["integration"] = record


def _tissue(joint: AnnData, links: Links, keys: dict[str, Any]) -> tuple[AnnData, np.ndarray | None, dict[str, Any]]:
    """Return the spots to fit, the row in them of every spot (None: its own), and the keys of section and places."""
    if links != "stitched":
        return joint, None, keys
    return *_each_place_once(joint, keys["section_key"]), {"section_key": None, "spatial_key": Keys.ALIGNED}


def _each_place_once(joint: AnnData, section_key: str) -> tuple[AnnData, np.ndarray | None]:
    """Return stitched tissue without spots that were measured again, and the row in it of every spot.

    If there are none, returns ``joint`` itself and None.
    """
    section = joint.obs[section_key].astype(str).to_numpy()
    stands_for = match_duplicate_spots(spot_centres(joint, Keys.ALIGNED), section)
    once = np.unique(stands_for)
    if len(once) == joint.n_obs:
        return joint, None
    return joint[once].copy(), np.searchsorted(once, stands_for)


def _write_joint_factors(
    joint: AnnData, model: DomainModel, made: Made, source: dict[str, Any], keys: dict[str, Any]
) -> None:
    """Write smoothed spatial factors, by which sections are linked, whichever model finds the domains."""
    config = SpatialFactorsConfig()
    if isinstance(model, SharedFactors | SpatialFactors):
        config = model.config if isinstance(model, SpatialFactors) else SpatialFactorsConfig.sharing(model.config)
    smoothed = SpatialFactors(replace(config, match_sections=False)).fit_run(joint, made=made, **source, **keys)
    write_result(joint, "obsm", Keys.JOINT, smoothed.embedding)


def _copy_to_all_spots(
    whole: AnnData, joint: AnnData, rows: np.ndarray | None, key_added: str, embedding_key: str
) -> None:
    """Give every spot the results of its place, the spot in ``rows`` of ``whole``; with None it has them."""
    if rows is None:
        return
    columns = [key_added, f"{key_added}_confidence", f"{key_added}_mixture"]
    for column in (column for column in columns if column in whole.obs):
        keep_foreign(joint, "obs", column, warn=False)  # said of the places
        joint.obs[column] = whole.obs[column].iloc[rows].set_axis(joint.obs_names)
    keep_foreign(joint, "obsm", Keys.DENOISED, warn=False)
    joint.obsm.pop(Keys.DENOISED, None)
    for key in (embedding_key, Keys.JOINT):
        keep_foreign(joint, "obsm", key, warn=False)
        joint.obsm[key] = whole.obsm[key][rows]
    if Keys.DENOISED in whole.obsm:
        joint.obsm[Keys.DENOISED] = whole.obsm[Keys.DENOISED].iloc[rows].set_axis(joint.obs_names)
    joint.uns[Keys.UNS] = whole.uns[Keys.UNS]


def _links_for(joint: AnnData) -> Links:
    if "z_um" in joint.obs:
        return "stack"
    logger.info(
        "No z_um is given, so the order of the sections in a stack is not known: they are linked by mutual nearest "
        "neighbours in expression. Of serial sections give z_um (obs, or a column of samples.csv)."
    )
    return "expression"


def _links_between(joint: AnnData, links: Links, n_links: int, section_key: str, order: list[str]) -> csr_matrix | None:
    section = joint.obs[section_key].astype(str).to_numpy()
    if links == "stack":
        return stack_links(spot_centres(joint, Keys.ALIGNED), section, order, n_links)
    if links == "expression":
        return mutual_nearest_links(joint.obsm[Keys.JOINT], section, n_links)
    return None
