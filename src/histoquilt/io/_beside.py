"""Files that are read with another one that lies next to them."""

import re
from pathlib import Path

from histoquilt.io.instruments._legacy_st import find_selection

_NAMED = re.compile(r"=\s*(\S.*?)\s*$", re.MULTILINE)  # values of the index of a Hamamatsu slide


def files_beside(path: Path) -> list[Path]:
    """Return the files and folders that are read with a file: positions of legacy ST, parts of a scanner's slide.

    A folder is read by itself. MRXS has a folder of its own name, VMS and VMU name their files, and DICOM is a folder
    of files.

    Examples
    --------
    >>> from histoquilt.io import files_beside
    >>> folder = getfixture("tmp_path")
    >>> for name in ("A1.tsv.gz", "A1_selection.tsv", "B1.tsv.gz"):
    ...     (folder / name).touch()
    >>> [path.name for path in files_beside(folder / "A1.tsv.gz")], files_beside(folder / "B1.tsv.gz")
    (['A1_selection.tsv'], [])
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        return []
    if path.name.endswith((".tsv", ".tsv.gz")):
        found = [find_selection(path)]
    elif suffix == ".mrxs":
        found = [path.with_suffix("")]
    elif suffix in (".vms", ".vmu"):
        names = _NAMED.findall(path.read_text(encoding="utf-8", errors="replace"))
        found = [path.parent / name for name in dict.fromkeys(names)]
    elif suffix == ".dcm":
        found = [other for other in sorted(path.parent.iterdir()) if other.suffix.lower() == suffix]
    else:
        found = []
    return [other for other in found if other is not None and other != path and other.exists()]
