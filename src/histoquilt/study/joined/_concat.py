"""Several sections in one AnnData."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique
from scipy.sparse import csr_matrix, issparse, vstack

from histoquilt._base import Keys, listed
from histoquilt.runtime import logger
from histoquilt.study._checks import check_counts
from histoquilt.study._counts_elsewhere import counts_elsewhere
from histoquilt.study._layers import named_layers
from histoquilt.study._libraries import image_libraries
from histoquilt.study._scale import declare_scale, declared_scale, provenance
from histoquilt.study._spot_centres import spot_centres
from histoquilt.study._study import Study
from histoquilt.study._written import Slot, declare_ours, is_ours, keep_foreign, write_result
from histoquilt.study.joined._check_study import check_study
from histoquilt.study.joined._obs import concat_obs
from histoquilt.study.joined._split import image_keys

_UNDECLARED = "undeclared and no raw counts"


def concat_sections(
    sections: Mapping[str, AnnData] | Study, *, section_key: str = Keys.SECTION, spatial_key: str = Keys.SPATIAL
) -> AnnData:
    """Join sections into one AnnData, on the genes that all of them have.

    Parameters
    ----------
    sections
        Section name -> AnnData, or a Study, in the order in which they are joined; not changed.
    section_key
        Column of ``obs`` that will name the section of every spot; an existing one that differs inside a section is
        kept as ``<section_key>_before``.
    spatial_key
        Key in ``obsm`` of the spot centres, which every section must have.

    Returns
    -------
    AnnData of all spots, with

    ``X``, layers that all sections have : CSR, shared genes in the order of the first section
    ``obs_names`` : unchanged; names that sections share become ``<name>-<section>``
    ``obs[section_key]`` : categorical, in the order given
    ``obs["obs_name"]`` : the name in its own section
    ``obs`` : all other columns of all sections, missing if a section has none
    ``var`` : ``gene_id``, ``gene_symbol``, and the columns on which all sections agree
    ``obsm`` : matrices of equal width in all sections, among them ``"spatial"``; shared columns of tables
    ``uns["spatial"]`` : the images of all sections, each under its section's name
    ``uns["histoquilt"]`` : ``scale``; ``coordinates`` as far as sections agree; ``sections``, a dict from section name
    to its ``coordinates``, ``source`` and the ``libraries`` it had in ``uns["spatial"]``

    Graphs (``obsp``), ``varm``, ``raw`` and everything else in ``uns`` describe single sections and are dropped.

    Raises
    ------
    ValueError
        As in :func:`check_study`, or the matrices of two sections are on different scales.

    See Also
    --------
    split_sections : the inverse.

    Examples
    --------
    >>> import histoquilt as hq
    >>> a, b = (hq.datasets.toy_section(n_spots=120, n_genes=30, n_domains=2, seed=seed) for seed in (0, 0))
    >>> joint = hq.io.concat_sections({"a": a, "b": b[:, :20].copy()})
    >>> joint.shape, joint.obs_names[0], joint.obs["obs_name"].iloc[0]
    ((240, 20), 'spot001-a', 'spot001')
    """
    shared = check_study(sections, spatial_key=spatial_key)
    if isinstance(sections, Study):
        sections = sections.adatas
    sections = {str(name): adata for name, adata in sections.items()}
    parts = list(sections.values())
    layers = [name for name in named_layers(parts[0]) if all(name in part.layers for part in parts)]
    has_x = bool(shared) and all(part.X is not None for part in parts)
    scales = {name: _common_scale(sections, name) for name in (["X"] if has_x else []) + layers}
    names = _unique_names(sections)
    joint = AnnData(
        X=_stack([part.X for part in parts], parts, shared) if has_x else None,
        obs=concat_obs([part.obs for part in parts]).set_index(names),
        var=_joint_var(parts, shared),
        layers={name: _stack([part.layers[name] for part in parts], parts, shared) for name in layers},
        obsm=_joint_obsm(parts, names, spatial_key),
    )
    for name in joint.obsm:
        if isinstance(joint.obsm[name], pd.DataFrame):
            scales[name] = _common_scale(sections, name, guess=False)
    for name, scale in scales.items():
        if scale is not None:
            declare_scale(joint, name, scale)
    _join_written(joint, parts)
    _name_spots(joint, sections, section_key)
    _join_uns(joint, sections)
    logger.info("%d sections joined: %s spots, %s shared genes", len(parts), f"{joint.n_obs:,}", f"{joint.n_vars:,}")
    return joint


def _join_written(joint: AnnData, parts: list[AnnData]) -> None:
    """Record results that histoquilt wrote in all sections that have them."""
    slots: tuple[Slot, ...] = ("obs", "var", "obsm")
    for slot in slots:
        for key in getattr(joint, slot):
            if all(is_ours(part, slot, key) for part in parts if key in getattr(part, slot)):
                declare_ours(joint, slot, key)


def _name_spots(joint: AnnData, sections: Mapping[str, AnnData], section_key: str) -> None:
    """Write the section of every spot, and its name in that section."""
    held = [part.obs[section_key] for part in sections.values() if section_key in part.obs]
    if any(len(column.dropna().unique()) > 1 for column in held):  # not names of sections
        keep_foreign(joint, "obs", section_key)
    names = np.repeat(list(sections), [part.n_obs for part in sections.values()])
    joint.obs[section_key] = pd.Categorical(names, categories=list(sections))
    of_spots = np.concatenate([part.obs_names.to_numpy(dtype=object) for part in sections.values()])
    write_result(joint, "obs", Keys.OBS_NAME, of_spots)


def _unique_names(sections: Mapping[str, AnnData]) -> pd.Index:
    """Return names of all spots; those of several sections get the section's name appended."""
    names = np.concatenate([adata.obs_names.to_numpy(dtype=object) for adata in sections.values()]).astype(object)
    section = np.repeat(list(sections), [adata.n_obs for adata in sections.values()])
    shared = pd.Index(names).duplicated(keep=False)
    names[shared] = [f"{name}-{of}" for name, of in zip(names[shared], section[shared], strict=True)]
    return make_index_unique(pd.Index(names))  # a name with its section may be a third section's name


def _stack(matrices: list[Any], parts: list[AnnData], genes: list[str]) -> csr_matrix:
    """Stack matrices in the columns of the shared genes."""
    columns = [part.var_names.get_indexer(genes) for part in parts]
    return vstack([csr_matrix(matrix[:, at]) for matrix, at in zip(matrices, columns, strict=True)], format="csr")


def _joint_var(parts: list[AnnData], genes: list[str]) -> pd.DataFrame:
    """Return the columns that agree in all sections; identifiers come from the first section that has them."""
    frames = [part.var.loc[genes] for part in parts]
    var = pd.DataFrame(index=pd.Index(genes, dtype=object))
    for name in frames[0].columns:
        if name in (Keys.GENE_ID, Keys.GENE_SYMBOL):
            values = frames[0][name].astype(object)
            for frame in frames[1:]:
                if name in frame:
                    values = values.where(values.notna() & (values != ""), frame[name].astype(object))
            var[name] = values.to_numpy()
        elif all(name in frame and frame[name].equals(frames[0][name]) for frame in frames[1:]):
            var[name] = frames[0][name]
    return var


def _joint_obsm(parts: list[AnnData], names: pd.Index, spatial_key: str) -> dict[str, Any]:
    """Return matrices that all sections have in one width, and tables in their shared columns."""
    joined: dict[str, Any] = {}
    places = (spatial_key, Keys.ALIGNED)
    if any(Keys.POLYGONS in part.obsm for part in parts):
        outlines = [part.obsm.get(Keys.POLYGONS, csr_matrix((part.n_obs, 0), dtype=np.float32)) for part in parts]
        width = max(matrix.shape[1] for matrix in outlines)  # rows are as long as the outline with the most vertices
        joined[Keys.POLYGONS] = vstack([_widened(matrix, width) for matrix in outlines], format="csr")
    for key in parts[0].obsm:
        values = [part.obsm[key] for part in parts if key in part.obsm]
        if len(values) < len(parts) or key == Keys.POLYGONS:
            continue
        if key in places and any(isinstance(value, pd.DataFrame) for value in values):
            values = [spot_centres(part, key) for part in parts]  # columns by name in each
        if all(isinstance(value, pd.DataFrame) for value in values):
            joined[key] = pd.concat(values, join="inner").set_index(names)
        elif len({value.shape[1:] for value in values}) == 1:
            joined[key] = vstack(values, format="csr") if any(map(issparse, values)) else np.concatenate(values)
        elif key == spatial_key:
            joined[key] = np.concatenate([np.asarray(value)[:, :2] for value in values])
            logger.info("Some sections have a third coordinate; it is left out of the joined ones.")
        else:
            logger.info("obsm[%r] is left out: sections have it in different widths.", key)
    return joined


def _widened(matrix: Any, width: int) -> csr_matrix:
    """Return a sparse matrix with empty columns added."""
    matrix = csr_matrix(matrix)
    return csr_matrix((matrix.data, matrix.indices, matrix.indptr), shape=(matrix.shape[0], width))


def _common_scale(sections: Mapping[str, AnnData], name: str, *, guess: bool = True) -> Any:
    """Return the scale of a matrix in all sections, ``None`` if undeclared; raise if sections differ.

    Undeclared whole numbers are counts; other undeclared values are a scale of their own.
    """
    found: dict[str, list[str]] = {}
    declared = None
    for section, adata in sections.items():
        scale = declared_scale(adata, name)
        declared = declared or scale
        if scale is None and guess and _holds_counts(adata, name):
            scale = "counts"
        found.setdefault(scale or _UNDECLARED, []).append(section)
    if len(found) > 1:
        without = next(iter(found.get(_UNDECLARED, [])), None)
        elsewhere = counts_elsewhere(sections[without], name).rstrip() if without else ""
        by_scale = "; ".join(f"{scale}: {listed(names, 4)}" for scale, names in found.items())
        raise ValueError(
            f"{name} is on different scales ({by_scale}). Bring all sections to one: raw counts in X or in "
            "layers['counts'], or log1p of counts per 10,000 declared in uns['histoquilt']['scale']."
            + (f" Section {without!r}: {elsewhere}" if elsewhere else "")
        )
    return declared


def _holds_counts(adata: AnnData, name: str) -> bool:
    try:
        check_counts(adata.X if name == "X" else adata.layers[name], name, adata)
    except ValueError:
        return False
    return True


def _join_uns(joint: AnnData, sections: Mapping[str, AnnData]) -> None:
    """Join images, under the names of their sections, and records of the sections."""
    images: dict[str, Any] = {}
    records: dict[str, dict[str, Any]] = {}
    for name, adata in sections.items():
        ours = adata.uns.get(Keys.UNS, {})
        record = {key: copy.deepcopy(ours[key]) for key in (Keys.COORDINATES, "source", "image_scale") if key in ours}
        libraries = image_libraries(adata)
        if libraries:
            record["libraries"] = list(libraries)
            images |= dict(zip(image_keys(name, record["libraries"]), libraries.values(), strict=True))
        records[name] = record
    if images:
        joint.uns[Keys.SPATIAL] = images
    ours = provenance(joint)
    ours[Keys.SECTIONS] = records
    coordinates = [record.get(Keys.COORDINATES, {"unit": "unknown"}) for record in records.values()]
    first = coordinates[0]
    agreed = {key: value for key, value in first.items() if all(one.get(key) == value for one in coordinates)}
    ours[Keys.COORDINATES] = {"unit": "unknown", **agreed}
    genes = [adata.uns.get(Keys.UNS, {}).get("genes") for adata in sections.values()]
    if genes[0] is not None and all(one == genes[0] for one in genes):
        ours["genes"] = copy.deepcopy(genes[0])
