"""H&E image of a section: its file, its microns per pixel, and opening it."""

from typing import Any

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys, check_mpp, check_positive, either
from histoquilt.io._files import PathLike
from histoquilt.io.slides._mpp import check_slide_mpp, recorded_mpp
from histoquilt.io.slides._open import open_header, open_slide
from histoquilt.io.slides._slide import Slide
from histoquilt.runtime import logger
from histoquilt.study import (
    check_adata,
    check_inside,
    check_spatial,
    coordinate_record,
    image_libraries,
    library_part,
    provenance,
    warn_of_few_outside,
)


def attach_image(adata: AnnData, path: PathLike, *, mpp: float | None = None, image_scale: float | None = None) -> None:
    """Record the image file of a section. The pixels stay in the file.

    Parameters
    ----------
    adata
        One section; ``obsm["spatial"]`` holds spot centres ``(x, y)`` in pixels.
    path
        Path of the image, in any format of :func:`open_slide`.
    mpp
        Microns per coordinate pixel. By default from the section's record, else from the distance between spots
        (:func:`estimate_mpp`), else from the metadata of the image.
    image_scale
        Coordinate pixels per image pixel. By default 1 (the full-resolution image), or 1 / scale factor of the
        ``hires`` or ``lowres`` image of Space Ranger.

    Returns
    -------
    None. Adds to ``adata``:

    ``uns["histoquilt"]["image"]`` : dict with ``path``, ``image_scale`` and ``mpp``

    Raises
    ------
    KeyError
        The section has no coordinates.
    ValueError
        The coordinates are not pixels, more than half of the spots lie outside the image (the message names a scale
        that would fit), ``mpp`` is absurd or cannot be determined, or the image is not 8-bit RGB.
    FileNotFoundError, OSError, ImportError
        The image does not exist, is damaged, or needs the ``wsi`` extra.

    Warns
    -----
    UserWarning
        ``mpp`` is more than 5 % from the distance between spots, or some spots lie outside the image.

    See Also
    --------
    place_on_image, place_by_loupe : coordinates in pixels of the image, for Xenium and hand-aligned Visium.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from PIL import Image
    >>> adata, image = hq.datasets.toy_slide(n_spots=100, mpp=2)
    >>> path = getfixture("tmp_path") / "he.png"
    >>> Image.fromarray(image).save(path)
    >>> hq.io.attach_image(adata, path)
    >>> with hq.io.open_image(adata) as slide:
    ...     slide.mpp
    2.0
    """
    check_adata(adata)
    spatial = check_spatial(adata)[:, :2]
    unit = coordinate_record(adata).get("unit")
    if unit in ("micron", "array"):
        raise ValueError(
            f"The coordinates of this section are in {unit} units, not pixels of an image. For Xenium convert them "
            "with histoquilt.io.place_on_image(adata, read_alignment_matrix(...)); if they are pixels, say so: "
            "histoquilt.io.record_coordinates(adata, 'pixel')."
        )
    if mpp is not None:
        mpp = check_mpp(mpp)
    with open_header(path) as slide:
        scale = _scale_of(adata, slide, image_scale)
        check_inside(adata, slide, spatial / scale, image_scale=scale)
        warn_of_few_outside(slide, spatial / scale)
        record = image_record(adata, slide, scale, mpp)
    if "mpp" not in record:
        raise ValueError(_mpp_missing(str(path)))
    provenance(adata)[Keys.IMAGE] = record


def open_image(adata: AnnData) -> Slide:
    """Open the image that a section lies on (:func:`attach_image`, or the column ``image`` of a ``samples.csv``).

    Parameters
    ----------
    adata
        One section with ``uns["histoquilt"]["image"]``.

    Returns
    -------
    Slide
        Opened slide, for a ``with`` block. Its ``mpp`` is that of the image: the record's times ``image_scale``.

    Raises
    ------
    KeyError
        The section has no image.
    FileNotFoundError
        The image has moved.
    ValueError
        Microns per pixel are unknown, the image is not 8-bit RGB, or more than half of the spots lie outside it.
    OSError
        The image is truncated or damaged.

    Examples
    --------
    >>> import histoquilt as hq, os, tempfile
    >>> from PIL import Image
    >>> adata, image = hq.datasets.toy_slide(n_spots=60, n_genes=40, n_domains=2, mpp=4, seed=0)
    >>> path = os.path.join(tempfile.mkdtemp(), "slide.png")
    >>> Image.fromarray(image).save(path)
    >>> hq.io.attach_image(adata, path)
    >>> slide = hq.io.open_image(adata)
    >>> slide.height, slide.width, slide.mpp
    (335, 340, 4.0)
    >>> slide.close()
    """
    record = adata.uns.get(Keys.UNS, {}).get(Keys.IMAGE)
    if record is None:
        raise KeyError(
            "This section has no image (adata.uns['histoquilt']['image']). Attach it: histoquilt.io.attach_image("
            "adata, path), or name it in the column image of samples.csv."
        )
    path, scale = str(record["path"]), float(record.get("image_scale", 1.0))
    try:
        slide = open_slide(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"The image of this section is not there: {error} If it has moved, attach it anew: "
            "histoquilt.io.attach_image(adata, path), or correct samples.csv."
        ) from error
    try:
        if "mpp" not in record:
            raise ValueError(_mpp_missing(path))
        check_inside(adata, slide, check_spatial(adata)[:, :2] / scale, image_scale=scale)
    except BaseException:
        slide.close()
        raise
    slide.mpp = float(record["mpp"]) * scale
    return slide


def image_record(adata: AnnData, slide: Slide, image_scale: float, mpp: float | None = None) -> dict[str, Any]:
    """Return the record of an image, without ``mpp`` if that is unknown."""
    if mpp is None:
        mpp = recorded_mpp(adata)
    else:
        check_slide_mpp(adata, mpp, name=f"{slide.path.name} (given)")
    if slide.mpp is not None:
        if mpp is None:
            mpp = slide.mpp / image_scale
        check_slide_mpp(adata, slide.mpp, image_scale=image_scale, name=slide.path.name)
    record: dict[str, Any] = {"path": str(slide.path.absolute()), "image_scale": float(image_scale)}
    if mpp is not None:
        record["mpp"] = float(mpp)
    return record


def record_of_table(adata: AnnData, path: str, image_scale: float | None) -> dict[str, Any]:
    """Return the record of an image in a ``samples.csv``, from the table alone if the image cannot be opened.

    Nothing is raised, as the table serves steps that need no image, too; :func:`open_image` raises.
    """
    try:
        with open_header(path) as slide:
            return image_record(adata, slide, _scale_of(adata, slide, image_scale))
    except (OSError, ValueError, ImportError) as error:
        logger.info("the image %s is not opened yet: %s", path, error)
    record: dict[str, Any] = {"path": path, "image_scale": float(image_scale or 1.0)}
    mpp = recorded_mpp(adata)
    return record if mpp is None else {**record, "mpp": mpp}


def _scale_of(adata: AnnData, slide: Slide, image_scale: float | None) -> float:
    """Return coordinate pixels per image pixel: the given ones, those of Space Ranger's image that it is, or 1."""
    if image_scale is not None:
        check_positive(image_scale, "image_scale")
        return float(image_scale)
    for library in image_libraries(adata).values():
        for resolution in ("hires", "lowres"):
            factor = library_part(library, "scalefactors").get(f"tissue_{resolution}_scalef")
            loaded = library_part(library, "images").get(resolution)
            if loaded is not None:
                matches = np.shape(loaded)[:2] == (slide.height, slide.width)
            else:
                matches = slide.path.name.endswith(f"tissue_{resolution}_image.png")
            if factor and matches:
                logger.info("%s is the %s image: image_scale is 1 / %g", slide.path.name, resolution, factor)
                return 1 / float(factor)
    return 1.0


def _mpp_missing(path: str) -> str:
    remedy = either("Pass mpp= to histoquilt.io.attach_image", "Pass --mpp")
    return (
        f"Cannot determine microns per pixel of {path}: neither the section's record nor a lattice of spots nor the "
        f"file's metadata give them. {remedy}, or fill the column mpp of samples.csv."
    )
