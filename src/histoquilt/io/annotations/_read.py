"""Read annotations from a file, in the format that its content shows."""

import gzip
from pathlib import Path

from histoquilt.io._files import CUT_OFF, PathLike, existing_file
from histoquilt.io.annotations._annotations import Annotations
from histoquilt.io.annotations._barcodes import read_barcodes
from histoquilt.io.annotations._geojson import EXPORT, read_regions

_MOST_BYTES = 200_000_000  # unpacked: some six million corners; parsed they take ten times the memory
_WHAT = "annotations: GeoJSON of QuPath (.geojson, .geojson.gz), or a CSV of Loupe Browser"


def read_annotations(path: PathLike, *, column: str | None = None) -> Annotations:
    r"""Read the annotations of a section: regions drawn in QuPath, or categories of Loupe Browser.

    Parameters
    ----------
    path
        Path of a GeoJSON file (a FeatureCollection, one Feature, or a list of them), or of a table with the column
        ``Barcode`` or ``cell_id`` and columns of labels; both may be compressed with gzip.
    column
        Column of the table with the labels; by default the first.

    Returns
    -------
    :class:`Annotations`. The class of a region is its classification (derived classes as ``Tumor: Invasive``), else its
    name. Detections, cells, points, and regions without a class are left out.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        The file is empty, above 200 MB, of another format, or holds no region with a class or no label.
    KeyError
        ``column`` is not in the table.
    ImportError
        The file is GeoJSON and shapely is not installed.

    Warns
    -----
    UserWarning
        Objects are left out, outlines that cross themselves are repaired, or one of several columns is taken.

    See Also
    --------
    annotate_spots : writes the labels into a section.

    Examples
    --------
    >>> import histoquilt as hq
    >>> path = getfixture("tmp_path") / "loupe.csv"
    >>> _ = path.write_text("Barcode,Pathologist\nAAACAAGTATCTCCCA-1,tumour\nAAACACCAATAACTGC-1,stroma\n")
    >>> hq.io.read_annotations(path)
    Annotations of loupe.csv: 2 barcodes of 2 classes
    """
    path = existing_file(path, _WHAT)
    text = _text(path)
    if text.lstrip()[:1] in ("{", "["):
        return read_regions(path, text)
    return read_barcodes(path, text, column)


def _text(path: Path) -> str:
    """Return the text of a file, unpacked; raise unless it is text of a reasonable size."""
    with path.open("rb") as stream:
        packed = stream.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
    except CUT_OFF as error:
        raise ValueError(f"{path} could not be unpacked (truncated?): {error}. Copy it again.") from error
    if len(content) > _MOST_BYTES:
        raise ValueError(
            f"{path} has more than {_MOST_BYTES // 1_000_000} MB. Annotations are small: export them without "
            f"detections or cells ({EXPORT}, selected objects)."
        )
    if not content.strip():
        raise ValueError(f"{path} is empty; expected {_WHAT}.")
    if content[:2] in (b"\xac\xed", b"PK") or content.lstrip()[:1] == b"<" or b"\0" in content[:4096]:
        raise ValueError(f"{path} is not a file of {_WHAT}. Export the annotations ({EXPORT}).")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not written in UTF-8: {error}. Save it as UTF-8.") from error
