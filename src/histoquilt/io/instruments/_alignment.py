"""Alignments to an H&E image: of Xenium Explorer (a 3 x 3 matrix) and of Loupe Browser (spots placed by hand)."""

import json
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt._base import Keys, check_positive, listed
from histoquilt.io._cell_polygons import CellPolygons, store_polygons, stored_polygons
from histoquilt.io._files import PathLike, existing_file, read_delimited
from histoquilt.study import VISIUM_PITCH_UM, check_spatial, coordinate_record, record_coordinates, write_result

_XENIUM_PIXEL_UM = 0.2125  # of the morphology image, in every experiment.xenium so far
_ARRAY = ["array_row", "array_col"]


def read_alignment_matrix(path: PathLike) -> np.ndarray:
    r"""Read an image alignment of Xenium Explorer (``*_imagealignment.csv``).

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

    Examples
    --------
    >>> import histoquilt as hq, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "he_imagealignment.csv"
    >>> _ = path.write_text("2,0,10\n0,2,20\n0,0,1\n")
    >>> hq.io.read_alignment_matrix(path).tolist()
    [[2.0, 0.0, 10.0], [0.0, 2.0, 20.0], [0.0, 0.0, 1.0]]
    """
    what = "an image alignment of Xenium Explorer (..._imagealignment.csv)"
    path = existing_file(path, what)
    table = read_delimited(path, sep=",", header=None, dtype=str, what=what)
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


def place_on_image(adata: AnnData, matrix: np.ndarray, *, pixel_um: float | None = None) -> None:
    """Convert the positions of a Xenium section from microns to pixels of an image aligned to it.

    Parameters
    ----------
    adata
        One section; ``obsm["spatial"]`` in microns, as Xenium writes them.
    matrix
        Matrix from pixels of the H&E image to pixels of the morphology image (:func:`read_alignment_matrix`).
    pixel_um
        Microns per pixel of the morphology image. By default the one that the reader recorded (``pixel_size`` in
        ``experiment.xenium``), else 0.2125.

    Returns
    -------
    None. Changes in ``adata``:

    ``obsm["spatial"]`` : ``(x, y)`` in pixels of the H&E image; ``obsm["cell_polygons"]`` in the same, if present
    ``obsm["spatial_um"]`` : the former positions
    ``uns["histoquilt"]["coordinates"]`` : ``pixel``, with ``mpp`` of the H&E image

    Raises
    ------
    ValueError
        The coordinates are recorded in pixels already, or the matrix is not affine.

    Examples
    --------
    >>> import histoquilt as hq, numpy as np
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, seed=0)
    >>> hq.io.record_coordinates(adata, "micron")
    >>> hq.io.place_on_image(adata, np.diag([4.0, 4.0, 1.0]))  # four pixels of the morphology image in one of H&E
    >>> round(adata.uns["histoquilt"]["coordinates"]["mpp"], 2)
    0.85
    """
    spatial = check_spatial(adata)[:, :2]
    record = coordinate_record(adata)
    pixel_um = float(record.get("image_mpp", _XENIUM_PIXEL_UM)) if pixel_um is None else pixel_um
    check_positive(pixel_um, "pixel_um")
    if record.get("unit", "micron") not in ("micron", "unknown"):
        raise ValueError(
            f"The coordinates are recorded in {record['unit']} units, and a Xenium alignment starts from microns. Was "
            "the section placed on an image already? Read it again."
        )
    pixels = apply_alignment(spatial / pixel_um, matrix, inverse=True)
    write_result(adata, "obsm", Keys.IN_MICRONS, spatial.copy())
    adata.obsm[Keys.SPATIAL] = pixels
    if (outlines := stored_polygons(adata)) is not None:
        vertices = apply_alignment(outlines.vertices / pixel_um, matrix, inverse=True)
        store_polygons(adata, CellPolygons(outlines.offsets, vertices))
    record_coordinates(adata, "pixel", mpp=pixel_um * _scale(matrix), pitch_um=record.get("pitch_um"))


def _checked(matrix: np.ndarray, name: str) -> np.ndarray:
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise ValueError(f"{name} must be a 3 x 3 matrix of finite numbers, got shape {matrix.shape}.")
    if not np.allclose(matrix[2], [0, 0, 1]):
        raise ValueError(f"{name} is not affine: its last row is {matrix[2].tolist()}, expected 0, 0, 1.")
    if abs(np.linalg.det(matrix[:2, :2])) < 1e-12:
        raise ValueError(f"{name} cannot be inverted: it flattens the image to a line.")
    return matrix


def read_loupe_alignment(path: PathLike) -> pd.DataFrame:
    """Read a manual alignment of Loupe Browser: the position of each spot of the capture area on the image.

    The file names spots by row and column of the array, not by barcode; :func:`place_by_loupe` matches them.

    Parameters
    ----------
    path
        Path of the exported ``.json`` of a Visium slide (not HD, whose bins are not listed in it).

    Returns
    -------
    pandas.DataFrame
        One row per spot: ``array_row``, ``array_col`` as in Space Ranger's positions; ``x``, ``y`` in pixels of the
        microscope image (for CytAssist converted from the CytAssist image); ``diameter_px``; ``in_tissue``.
        ``attrs``: ``serial_number``, ``area``, ``mpp`` (from the spot pitch of the slide's design, in microns; absent
        if the file has no transform) and ``cytassist``.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        The file is not a Loupe alignment, its spots were not placed, or it is of Visium HD.

    Examples
    --------
    >>> import json, histoquilt as hq
    >>> path = getfixture("tmp_path") / "V1-A1.json"
    >>> spots = [{"row": 0, "col": 0, "imageX": 50, "imageY": 80, "tissue": True}, {"row": 1, "col": 1, "imageX": 150}]
    >>> _ = path.write_text(json.dumps({"oligo": spots, "area": "A1"}))
    >>> table = hq.io.read_loupe_alignment(path)
    >>> table[["array_row", "x", "y", "in_tissue"]].values.tolist(), table.attrs["area"]
    ([[0, 50.0, 80.0, True], [1, 150.0, 0.0, False]], 'A1')
    """
    path = existing_file(path, "a manual alignment exported by Loupe Browser (.json)")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON (truncated?): {error}. Export it again from Loupe.") from error
    if not isinstance(content, dict) or "oligo" not in content:
        found = listed(content) if isinstance(content, dict) else type(content).__name__
        raise ValueError(f"{path} is not a Loupe alignment: it has no 'oligo' (found: {found}).")
    oligo = content["oligo"]
    if isinstance(oligo, str):
        raise ValueError(
            f"{path} is of Visium HD, whose bins are not listed in it. Read the positions that Space Ranger wrote: "
            "histoquilt.io.read_visium on binned_outputs/square_008um."
        )
    if not oligo or not any("imageX" in spot or "imageY" in spot for spot in oligo):
        raise ValueError(
            f"{path} lists {len(oligo)} spots without positions on an image: the spots were not aligned by hand. "
            "Finish the fiducial alignment in Loupe and export again, or use Space Ranger's positions."
        )
    try:
        return _table(content)
    except (KeyError, TypeError, ValueError, np.linalg.LinAlgError) as error:
        raise ValueError(f"{path} is a damaged Loupe alignment ({error!r}). Export it again from Loupe.") from error


def _table(content: dict[str, Any]) -> pd.DataFrame:
    spots = content["oligo"]
    # the file leaves out numbers that are 0 and flags that are false
    xy = np.array([[spot.get("imageX", 0.0), spot.get("imageY", 0.0)] for spot in spots], dtype=np.float64)
    diameter = np.array([spot.get("dia", np.nan) for spot in spots], dtype=np.float64)
    scale = _scale(content["transform"]) if "transform" in content else None
    cytassist = content.get("cytAssistInfo")
    if cytassist is not None:  # the spots were placed on the CytAssist image; the matrix maps from the microscope's
        matrix = np.array(cytassist["transformImages"], dtype=np.float64)
        matrix = matrix / matrix[2, 2]
        xy = apply_alignment(xy, matrix, inverse=True)
        diameter = diameter / _scale(matrix)
        scale = None if scale is None else scale / _scale(matrix)
    table = pd.DataFrame(
        {
            "array_row": np.array([spot.get("row", 0) for spot in spots], dtype=np.int64),
            "array_col": np.array([spot.get("col", 0) for spot in spots], dtype=np.int64),
            "x": xy[:, 0],
            "y": xy[:, 1],
            "diameter_px": diameter,
            "in_tissue": np.array([bool(spot.get("tissue", False)) for spot in spots]),
        }
    )
    table.attrs = {
        "serial_number": content.get("serialNumber") or None,
        "area": content.get("area") or None,
        "cytassist": cytassist is not None,
    }
    if scale:
        table.attrs["mpp"] = 1 / scale  # the design is in microns
    return table


def _scale(matrix: Any) -> float:
    """Return the factor by which an affine matrix enlarges lengths."""
    return float(np.sqrt(abs(np.linalg.det(np.array(matrix, dtype=np.float64)[:2, :2]))))


def place_by_loupe(adata: AnnData, alignment: PathLike | pd.DataFrame) -> None:
    """Place the spots of a Visium section by a manual alignment of Loupe Browser.

    Parameters
    ----------
    adata
        One section with ``obs["array_row"]`` and ``obs["array_col"]`` (:func:`read_visium` writes them).
    alignment
        Path of the file, or the table of :func:`read_loupe_alignment`.

    Returns
    -------
    None. Changes in ``adata``:

    ``obsm["spatial"]`` : ``(x, y)`` in pixels of the microscope image
    ``uns["histoquilt"]["coordinates"]`` : ``pixel``, ``pitch_um`` 100, and ``mpp`` if the file has it

    Raises
    ------
    KeyError
        ``obs`` has no row and column numbers.
    ValueError
        Spots of the section are not in the file.

    Examples
    --------
    >>> import numpy as np, pandas as pd, histoquilt as hq
    >>> from anndata import AnnData
    >>> adata = AnnData(np.ones((2, 1)), obs=pd.DataFrame({"array_row": [1, 0], "array_col": [1, 0]}, index=["b", "a"]))
    >>> table = pd.DataFrame({"array_row": [0, 1], "array_col": [0, 1], "x": [50.0, 150.0], "y": [80.0, 90.0]})
    >>> table.attrs["mpp"] = 0.5  # as read_loupe_alignment returns it
    >>> hq.io.place_by_loupe(adata, table)
    >>> adata.obsm["spatial"].tolist(), adata.uns["histoquilt"]["coordinates"]["mpp"]
    ([[150.0, 90.0], [50.0, 80.0]], 0.5)
    """
    table = alignment if isinstance(alignment, pd.DataFrame) else read_loupe_alignment(alignment)
    missing = [column for column in _ARRAY if column not in adata.obs]
    if missing:
        raise KeyError(
            f"{listed(missing)} not in adata.obs (found: {listed(adata.obs.columns)}). A Loupe alignment names spots "
            "by their row and column of the array; read the section with histoquilt.io.read_visium."
        )
    placed = table.set_index(_ARRAY)[["x", "y"]].reindex(pd.MultiIndex.from_frame(adata.obs[_ARRAY].astype(np.int64)))
    absent = placed["x"].isna().to_numpy()
    if absent.any():
        raise ValueError(
            f"{absent.sum():,} of {adata.n_obs:,} spots are not in the alignment, which has {len(table):,} "
            f"(rows {table['array_row'].min()}-{table['array_row'].max()}, columns {table['array_col'].min()}-"
            f"{table['array_col'].max()}); first: {listed(adata.obs_names[absent], 3)}. Same capture area?"
        )
    adata.obsm[Keys.SPATIAL] = placed.to_numpy(dtype=np.float64)
    record_coordinates(adata, "pixel", mpp=table.attrs.get("mpp"), pitch_um=VISIUM_PITCH_UM)
