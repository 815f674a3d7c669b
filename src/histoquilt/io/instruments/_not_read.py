"""Files and folders that are not read as they are: what they are, and how to get a section from them."""

from pathlib import Path

_STEREO = "Export it to .h5ad with Stereopy (stereo.io.stereo_to_anndata), and give that."
_BY_SUFFIX = {
    ".gef": f"It is a Stereo-seq expression file of SAW. {_STEREO}",
    ".gem": f"It is a Stereo-seq expression table of SAW. {_STEREO}",
    ".rds": "It is an R object. Save counts and coordinates from R as an .h5ad, for example with zellkonverter "
    "(SingleCellExperiment) or sceasy (Seurat), and give that.",
    ".loom": "It is a Loom file. Add the positions and save it as .h5ad: adata = anndata.io.read_loom(path); "
    "adata.obsm['spatial'] = xy; adata.write_h5ad('section.h5ad').",
    ".mtx": "It is a count matrix without positions. Give the folder that also has spatial/.",
}
_BY_SUFFIX |= {".rdata": _BY_SUFFIX[".rds"], ".robj": _BY_SUFFIX[".rds"]}


def what_file(path: Path) -> str | None:
    """Return what a file is and the way to a section, by its name, or None."""
    return _BY_SUFFIX.get(Path(path.name.lower().removesuffix(".gz")).suffix)


def what_folder(folder: Path) -> str | None:
    """Return what a folder is and the way to a section, by what it holds, or None."""
    if (folder / "segmented_outputs").is_dir():
        return (
            "It is an output of Space Ranger 4 with segmented cells (segmented_outputs/) and without binned_outputs/. "
            "Cells are not read from there: run Space Ranger with bins, or save the cells and their centroids as .h5ad."
        )
    if any((folder / name).exists() for name in ("cell_feature_matrix.h5", "cell_feature_matrix")):
        return (
            "It is an output of Xenium without experiment.xenium, by which its version is known. Copy the whole folder "
            "that the instrument wrote."
        )
    if (folder / "feature_expression").is_dir() or any(folder.glob("*.gef")):
        return f"It is an output of SAW (Stereo-seq) with .gef files. {_STEREO}"
    if any(folder.glob("*.gem")) or any(folder.glob("*.gem.gz")):
        return f"It is a folder of Stereo-seq expression tables (.gem). {_STEREO}"
    return None
