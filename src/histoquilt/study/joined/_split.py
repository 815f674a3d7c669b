"""Split an AnnData of several sections."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys
from histoquilt.study._checks import check_adata, check_obs_key
from histoquilt.study._layers import named_layers


def split_sections(joint: AnnData, section_key: str = Keys.SECTION) -> dict[str, AnnData]:
    """Split one AnnData into its sections, each with all results for its spots.

    Parameters
    ----------
    joint
        Several sections; not changed.
    section_key
        Column of ``obs`` with the names of the sections.

    Returns
    -------
    Section name -> AnnData, in the order of the categories (or of appearance). Spots have their names from before
    :func:`concat_sections`; ``obsp`` keeps the links inside the section; ``uns["spatial"]`` and
    ``uns["histoquilt"]["coordinates"]`` are the section's own, the rest of ``uns`` that of the joint analysis. Columns
    of ``obs`` that are missing for the whole section are dropped.

    Raises
    ------
    KeyError
        ``section_key`` is not in ``obs``.
    ValueError
        Some spots have no section.

    Examples
    --------
    >>> import histoquilt as hq
    >>> joint = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, n_sections=2, seed=0)
    >>> {name: section.n_obs for name, section in hq.io.split_sections(joint).items()}
    {'s1': 60, 's2': 60}
    """
    return {name: cut_section(joint, name, rows) for name, rows in rows_of_sections(joint, section_key).items()}


def rows_of_sections(joint: AnnData, section_key: str) -> dict[str, np.ndarray]:
    """Return section name -> row numbers, in the order of :func:`split_sections`."""
    check_adata(joint)
    check_obs_key(joint, section_key, argument="section_key")
    column = joint.obs[section_key]
    if column.isna().any():
        raise ValueError(
            f"{column.isna().sum():,} of {joint.n_obs:,} spots have no section: adata.obs[{section_key!r}] is empty "
            "(NaN) there. Name their section, or drop them."
        )
    values = column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column.unique()
    rows_of = {str(value): np.flatnonzero(column == value) for value in values}
    return {name: rows for name, rows in rows_of.items() if len(rows)}


def cut_section(joint: AnnData, name: str, rows: np.ndarray) -> AnnData:
    """Return one section of several with its own images and records; see :func:`split_sections`."""
    obs = joint.obs.iloc[rows]
    obs = obs.drop(columns=[column for column in obs if obs[column].isna().all()])
    if Keys.OBS_NAME in obs and obs[Keys.OBS_NAME].is_unique:
        obs = obs.set_index(pd.Index(obs[Keys.OBS_NAME].astype(str).to_numpy(dtype=object))).drop(columns=Keys.OBS_NAME)
    obsm = {}
    for key, value in joint.obsm.items():
        is_table = isinstance(value, pd.DataFrame)
        obsm[key] = value.iloc[rows].set_index(obs.index) if is_table else value[rows]
    # not joint[rows].copy(): that would copy the images of all sections into each
    return AnnData(
        X=None if joint.X is None else joint.X[rows],
        obs=obs,
        var=joint.var.copy(),
        layers={key: value[rows] for key, value in named_layers(joint).items()},
        obsm=obsm,
        varm=dict(joint.varm),
        obsp={key: value[rows][:, rows] for key, value in joint.obsp.items()},
        uns=_own_uns(joint, name),
    )


def _own_uns(joint: AnnData, name: str) -> dict[str, Any]:
    """Return the joint analysis with the section's own images and coordinates."""
    uns = {key: copy.deepcopy(value) for key, value in joint.uns.items() if key != Keys.SPATIAL}
    images = joint.uns.get(Keys.SPATIAL, {})
    ours = uns.get(Keys.UNS, {})
    record = ours.pop(Keys.SECTIONS, {}).get(name)
    if record is None:  # not joined by histoquilt: only names say which image belongs to which section
        if images:
            uns[Keys.SPATIAL] = {name: images[name]} if name in images else images
        return uns
    libraries = [str(library) for library in record.pop("libraries", [])]
    stored = zip(libraries, image_keys(name, libraries), strict=True)
    own = {library: images[key] for library, key in stored if key in images}
    if own:
        uns[Keys.SPATIAL] = own
    ours.pop(Keys.COORDINATES, None)
    ours.update(record)
    return uns


def image_keys(section: str, libraries: Sequence[str]) -> list[str]:
    """Names under which the images of a section are stored among those of others."""
    return [section] if len(libraries) == 1 else [f"{section}-{library}" for library in libraries]
