"""Xenium: alignment matrix that Xenium Explorer exports for an H&E image, and cells in pixels of that image."""

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, check_positive
from histoquilt.io._files import PathLike, existing_file, read_delimited
from histoquilt.study import check_spatial, coordinate_record, record_coordinates, write_result

XENIUM_PIXEL_UM = 0.2125  # of the morphology image, in every experiment.xenium so far


def read_alignment_matrix(path: PathLike) -> np.ndarray:
    """Read an image alignment of Xenium Explorer (``*_imagealignment.csv``).

    Parameters
    ----------
    path
        Path of the file: three rows of three numbers, separated by commas, without header.

    Returns
    -------
    numpy.ndarray
        float64 ``(3, 3)``: maps ``(x, y, 1)`` in pixels of the aligned image to pixels of the Xenium morphology image.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        It holds no affine matrix that can be inverted.
    """
    path = existing_file(path, "an image alignment of Xenium Explorer (..._imagealignment.csv)")
    table = read_delimited(path, sep=",", header=None, dtype=str)
    if str(table.iloc[0, 0]).strip() in ("fixedX", "alignmentX"):
        raise ValueError(
            f"{path} holds the key points of an alignment, not its matrix. Export the matrix too: Xenium Explorer, "
            "Images, Download alignment file."
        )
    numbers = table.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    if numbers.shape != (3, 3) or not np.isfinite(numbers).all():
        raise ValueError(
            f"{path} holds no alignment matrix: expected 3 x 3 numbers separated by commas, found {len(table)} row(s) "
            f"of {table.shape[1]}, {int(np.isfinite(numbers).sum())} of them numbers."
        )
    return _checked(numbers, str(path))


def apply_alignment(points: np.ndarray, matrix: np.ndarray, *, inverse: bool = False) -> np.ndarray:
    """Map points from one image to another.

    Parameters
    ----------
    points
        Points ``(x, y)``, ``(n, 2)``.
    matrix
        Affine matrix ``(3, 3)``.
    inverse
        If true, the inverse of the matrix is applied.

    Returns
    -------
    numpy.ndarray
        float64 ``(n, 2)``.

    Examples
    --------
    >>> matrix = np.array([[0.0, 2.0, 10.0], [-2.0, 0.0, 5.0], [0.0, 0.0, 1.0]])  # a turn, twice the size
    >>> apply_alignment(np.array([[1.0, 3.0]]), matrix)
    array([[16.,  3.]])
    >>> apply_alignment(np.array([[16.0, 3.0]]), matrix, inverse=True)
    array([[1., 3.]])
    """
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must have shape (n, 2), (x, y), got {points.shape}.")
    matrix = _checked(np.asarray(matrix, dtype=np.float64), "matrix")
    if inverse:
        matrix = np.linalg.inv(matrix)
    return points @ matrix[:2, :2].T + matrix[:2, 2]


def place_on_image(adata: AnnData, matrix: np.ndarray, *, pixel_um: float = XENIUM_PIXEL_UM) -> None:
    """Convert the positions of a Xenium section from microns to pixels of an image aligned to it.

    Parameters
    ----------
    adata
        One section; ``obsm["spatial"]`` in microns, as Xenium writes them.
    matrix
        Matrix from pixels of the H&E image to pixels of the morphology image (:func:`read_alignment_matrix`).
    pixel_um
        Microns per pixel of the morphology image: ``pixel_size`` in ``experiment.xenium``.

    Returns
    -------
    None. Changes in ``adata``:

    ``obsm["spatial"]`` : ``(x, y)`` in pixels of the H&E image
    ``obsm["spatial_um"]`` : the former positions
    ``uns["histoquilt"]["coordinates"]`` : ``pixel``, with ``mpp`` of the H&E image

    Raises
    ------
    ValueError
        The coordinates are recorded in pixels already, or the matrix is not affine.
    """
    check_positive(pixel_um, "pixel_um")
    spatial = check_spatial(adata)[:, :2]
    record = coordinate_record(adata)
    if record.get("unit", "micron") not in ("micron", "unknown"):
        raise ValueError(
            f"The coordinates are recorded in {record['unit']} units, and a Xenium alignment starts from microns. Was "
            "the section placed on an image already? Read it again."
        )
    pixels = apply_alignment(spatial / pixel_um, matrix, inverse=True)
    write_result(adata, "obsm", Keys.IN_MICRONS, spatial.copy())
    adata.obsm[Keys.SPATIAL] = pixels
    mpp = pixel_um * float(np.sqrt(abs(np.linalg.det(np.asarray(matrix)[:2, :2]))))
    record_coordinates(adata, "pixel", mpp=mpp, pitch_um=record.get("pitch_um"))


def _checked(matrix: np.ndarray, name: str) -> np.ndarray:
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be a 3 x 3 matrix of finite numbers, got shape {matrix.shape}.")
    if not np.allclose(matrix[2], [0, 0, 1]):
        raise ValueError(f"{name} is not affine: its last row is {matrix[2].tolist()}, expected 0, 0, 1.")
    if abs(np.linalg.det(matrix[:2, :2])) < 1e-12:
        raise ValueError(f"{name} cannot be inverted: it flattens the image to a line.")
    return matrix
