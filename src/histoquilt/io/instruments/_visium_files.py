"""Files of a Visium section, as Space Ranger writes them or as GEO offers them: flat and with a prefix."""

from dataclasses import dataclass
from pathlib import Path

from histoquilt._base import argument, listed, visible
from histoquilt.io._files import contents, first_file

MATRIX = "filtered_feature_bc_matrix"
POSITIONS = (
    "tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv", "tissue_positions_list.txt",
)  # fmt: skip
_MTX = "matrix.mtx"


@dataclass(frozen=True)
class Counts:
    """Count matrix of a section."""

    path: Path  # of the .h5 file, or of the folder with matrix.mtx
    prefix: str = ""  # of the name of the matrix, e.g. "GSM5833536_A1_"
    mtx_prefix: str = ""  # of matrix.mtx in the folder

    @property
    def sample(self) -> str | None:
        """Name of the sample, if the prefix gives one."""
        return self.prefix.rstrip("_-. ") or None


def find_counts(folder: Path, counts_file: str | None) -> Counts:
    """Return the requested count matrix, or the only one."""
    if counts_file is not None:
        if not (folder / counts_file).exists():
            raise FileNotFoundError(
                f"{folder} has no {counts_file!r} ({argument('counts_file')}). It holds: {contents(folder)}."
            )
        return _counts_of(folder / counts_file)
    exact = [(folder / name,) for name in (f"{MATRIX}.h5", MATRIX) if (folder / name).exists()]
    patterns = (f"*{MATRIX}.h5", f"*{MATRIX}.h5.gz", f"*{MATRIX}", f"*{_MTX}", f"*{_MTX}.gz")
    matrices = next((found for found in (*exact, *(sorted(visible(folder, name)) for name in patterns)) if found), ())
    if len(matrices) == 1:
        return _counts_of(matrices[0])
    if matrices:
        samples = listed(_counts_of(item).sample or item.name for item in matrices)
        raise ValueError(
            f"{folder} holds several count matrices: {listed(item.name for item in matrices)}. They are of the "
            f"samples {samples}, and a section is one. Choose one with {argument('counts_file', matrices[0].name)}, "
            "or put the files of every sample into a folder of its own and give these."
        )
    raw = sorted(item.name for item in visible(folder, "*raw_feature_bc_matrix*"))
    hint = f" Only the unfiltered matrix is there; to read it pass {argument('counts_file', raw[0])}." if raw else ""
    if (folder / "outs").is_dir():
        hint = f" Did you mean {folder / 'outs'}?"
    raise FileNotFoundError(
        f"{folder} is not a Space Ranger output folder: looked for {MATRIX}.h5, <sample>_{MATRIX}.h5 and "
        f"{MATRIX}/. It holds: {contents(folder)}.{hint}"
    )


def find_positions(folder: Path, counts: Counts, spatial: Path | None = None) -> Path:
    """Return the table of spot positions that belongs to a count matrix, in ``spatial`` if that is given."""
    places = [folder / "spatial", folder / f"{counts.prefix}spatial"] if spatial is None else [spatial]
    if spatial is None and counts.path not in (folder, folder / counts.path.name):
        places.append(counts.path.parent)
    places = list(dict.fromkeys(place for place in places if place.is_dir()))
    nested = [place / "spatial" for place in places]  # an archive unpacked into a folder of its own name
    for place in (*places, *([folder] if spatial is None else []), *nested):
        if (path := find_file(place, POSITIONS, counts)) is not None:
            return path
    if not places:
        archives = sorted(
            path.name for pattern in ("*spatial*.tar*", "*spatial*.zip", "*.tgz") for path in visible(folder, pattern)
        )
        remedy = "Copy spatial/ from the same Space Ranger run (GEO offers it as <sample>_spatial.tar.gz)."
        raise FileNotFoundError(
            f"{folder} has no spatial/ folder, so the spots have no positions. It holds: {contents(folder)}. "
            + (f"Unpack {listed(archives)} there." if archives else remedy)
        )
    raise FileNotFoundError(
        f"{places[0]} has no spot positions: looked for {', '.join(POSITIONS)}. It holds: {contents(places[0])}."
    )


def find_file(place: Path, names: tuple[str, ...], counts: Counts) -> Path | None:
    """Return the first of some files of a sample, compressed or not, with its prefix or without."""
    path = first_file(place, (f"{prefix}{name}" for name in names for prefix in (counts.prefix, "")))
    if path is not None:
        return path
    for name in names:
        others = sorted(path for suffix in ("", ".gz") for path in visible(place, f"*{name}{suffix}") if path.is_file())
        if len(others) > 1:
            raise ValueError(
                f"{place} holds several {name}: {listed(path.name for path in others)}, and none is named like "
                f"{counts.path.name}. Put the files of every sample into a folder of its own."
            )
        if others:
            return others[0]
    return None


def _counts_of(path: Path) -> Counts:
    """Return the description of a count matrix by its path."""
    if path.is_dir():
        mtx_prefix = next((item.name.partition(_MTX)[0] for item in sorted(visible(path, f"*{_MTX}*"))), "")
        return Counts(path, path.name.removesuffix(MATRIX) if path.name.endswith(MATRIX) else "", mtx_prefix)
    if _MTX in path.name:
        prefix = path.name.partition(_MTX)[0]
        return Counts(path.parent, prefix, prefix)
    name = path.name.removesuffix(".gz").removesuffix(".h5")
    kind = next((kind for kind in (MATRIX, "raw_feature_bc_matrix") if name.endswith(kind)), None)
    return Counts(path, name.removesuffix(kind) if kind else "")
