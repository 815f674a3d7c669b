"""Write a pathologist's labels into the spots of a section."""

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, check_positive, either, require
from histoquilt.io._files import PathLike
from histoquilt.io._image_pixels import check_in_pixels, recorded_image_scale
from histoquilt.io.annotations._annotations import Annotations
from histoquilt.io.annotations._barcodes import labels_by_barcode, with_none
from histoquilt.io.annotations._placed import check_on_tissue, inside
from histoquilt.io.annotations._read import read_annotations
from histoquilt.runtime import logger
from histoquilt.study import (
    Section,
    Slots,
    check_adata,
    check_one_section,
    domain_palette,
    image_libraries,
    provenance,
    write_result,
)


def annotate_spots(
    adata: AnnData,
    annotations: Annotations | PathLike,
    *,
    key_added: str = Keys.ANNOTATION,
    image_scale: float | None = None,
    spatial_key: str = Keys.SPATIAL,
) -> None:
    """Give every spot the class that a pathologist gave its place, or its barcode.

    A spot has the class of the region that holds its centre; of several the smallest, so that a region drawn inside
    another one wins, as in QuPath's hierarchy. Holes are outside. Nothing in histoquilt learns from these labels; they
    judge.

    Parameters
    ----------
    adata
        One section.
    annotations
        The annotations (:func:`read_annotations`), or the path of their file.
    key_added
        Column of ``obs`` for the labels.
    image_scale
        Coordinate units per pixel of the image on which regions were drawn. By default that of the section's image
        (:func:`attach_image`), else 1: the full-resolution image. For Space Ranger's small images it is
        ``1 / tissue_hires_scalef``; for sections in microns, microns per pixel (of Xenium by default those of the
        morphology image).
    spatial_key
        Key in ``obsm`` of the spot centres.

    Returns
    -------
    None. Adds to ``adata``:

    ``obs[key_added]`` : categorical; missing for spots without an annotation
    ``uns[f"{key_added}_colors"]`` : colours of the file, else ours
    ``uns["histoquilt"][key_added]`` : dict with ``file``, ``kind`` (``"regions"`` or ``"barcodes"``), ``n_labelled``,
    ``n_several`` (spots in regions of several classes), and for regions ``image_scale``

    Raises
    ------
    KeyError
        The section has no coordinates.
    ValueError
        No spot is annotated, regions were drawn on an image of another scale (which is named), the coordinates are in
        microns, and ``image_scale`` is neither given nor recorded, or there are several sections. Or as in
        :func:`read_annotations`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=300, n_genes=50, n_domains=3, seed=0)
    >>> adata.obs["domain"] = adata.obs["domain_true"]
    >>> [drawn] = hq.io.export(adata, getfixture("tmp_path") / "out", to="qupath", mpp=0.5)
    >>> hq.tl.annotate_spots(adata, drawn, image_scale=0.5)
    >>> hq.metrics.ari(adata.obs["domain"], adata.obs["annotation"])
    1.0
    """
    check_adata(adata)
    if image_scale is not None:
        check_positive(image_scale, "image_scale")
    if not isinstance(annotations, Annotations):
        annotations = read_annotations(annotations)
    section = Section(_name_of(adata), adata, Slots(spatial_key=spatial_key))
    check_one_section(adata, spatial_key=spatial_key, name=section.name)
    record: dict[str, Any] = {"file": annotations.path.name}
    if annotations.regions is None:
        labels, n_several = labels_by_barcode(adata, annotations, section.name), 0
        record["kind"] = "barcodes"
    else:
        labels, n_several, scale = _labels_by_place(section, annotations, annotations.regions, image_scale)
        record |= {"kind": "regions", "image_scale": scale}
    values = pd.Categorical(labels, categories=sorted({label for label in labels if label is not None}))
    n_labelled = int((values.codes >= 0).sum())
    write_result(adata, "obs", key_added, values)
    ours = dict(zip(values.categories, domain_palette(len(values.categories)), strict=True))
    colors = [annotations.colors.get(label, color) for label, color in ours.items()]
    adata.uns[f"{key_added}_colors"] = np.array(colors, dtype=object)
    provenance(adata)[key_added] = {**record, "n_labelled": n_labelled, "n_several": n_several}
    logger.info(
        "%s: %s of %s spots of section %s are annotated, with %d classes%s.",
        annotations.path.name, f"{n_labelled:,}", f"{adata.n_obs:,}", section.name, len(values.categories),
        f"; {n_several:,} lie in regions of several classes, and the smallest counts" if n_several else "",
    )  # fmt: skip


def _labels_by_place(
    section: Section, annotations: Annotations, regions: np.ndarray, image_scale: float | None
) -> tuple[np.ndarray, int, float]:
    """Return the label of every spot ``(n_spots,)``, the number of spots in several classes, and the scale used."""
    require("shapely", extra="export", purpose="Finding spots in drawn regions")
    pass_scale = either("Pass image_scale=", "Pass --annotations-scale")
    remedy = f"{pass_scale}, microns per pixel of the image that was drawn on (0.2125 for Xenium's morphology image)."
    if image_scale is None or section.unit == "array":
        check_in_pixels(section, remedy, known=False)
    scale = recorded_image_scale(section.adata) if image_scale is None else float(image_scale)
    owners, spots = inside(regions, section.centres / scale)
    check_on_tissue(section, annotations, scale, n_inside=len(np.unique(spots)))
    codes, names = pd.factorize(annotations.labels)
    owner = np.full(len(section.centres), -1)
    owner[spots] = codes[owners]  # the smallest region comes last
    pairs = np.unique(np.column_stack([spots, codes[owners]]), axis=0)
    n_several = int((np.bincount(pairs[:, 0], minlength=1) > 1).sum())
    return with_none(names)[owner], n_several, scale


def _name_of(adata: AnnData) -> str:
    """Return the name of a section for messages: that in ``obs``, else that of its images."""
    known = adata.obs[Keys.SECTION].dropna().astype(str).unique() if Keys.SECTION in adata.obs else []
    names = list(known) or list(image_libraries(adata))
    return names[0] if len(names) == 1 else "section"
