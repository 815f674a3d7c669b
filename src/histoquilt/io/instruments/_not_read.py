"""Files and folders that are recognised but not read, with the way to a section."""

from pathlib import Path

_STEREO = "Export it to .h5ad with Stereopy (stereo.io.stereo_to_anndata), and give that."
_R_OBJECT = (
    "It is an R object. Save counts and coordinates from R as an .h5ad, for example with zellkonverter "
    "(SingleCellExperiment) or sceasy (Seurat), and give that."
)
_BY_SUFFIX = {
    ".gef": f"It is a Stereo-seq expression file of SAW. {_STEREO}",
    ".gem": f"It is a Stereo-seq expression table of SAW. {_STEREO}",
    ".rds": _R_OBJECT,
    ".rdata": _R_OBJECT,
    ".robj": _R_OBJECT,
    ".loom": "It is a Loom file. Add the positions and save it as .h5ad: adata = anndata.io.read_loom(path); "
    "adata.obsm['spatial'] = xy; adata.write_h5ad('section.h5ad').",
    ".mtx": "It is a count matrix without positions. Give the folder that also has spatial/.",
}
# globs in a folder -> its format and the way to a section
_BY_CONTENT = {
    ("cell_feature_matrix.h5", "cell_feature_matrix"): "It is an output of Xenium without experiment.xenium, which "
    "gives its version. Copy the whole folder that the instrument wrote.",
    ("feature_expression/", "*.gef"): f"It is an output of SAW (Stereo-seq) with .gef files. {_STEREO}",
    ("*.gem", "*.gem.gz"): f"It is a folder of Stereo-seq expression tables (.gem). {_STEREO}",
}


def what_file(path: Path) -> str | None:
    """Return the format of a file and the way to a section, or None if it is not known."""
    return _BY_SUFFIX.get(Path(path.name.lower().removesuffix(".gz")).suffix)


def what_folder(folder: Path) -> str | None:
    """Return the format of a folder and the way to a section, or None if it is not known."""
    return next((known for globs, known in _BY_CONTENT.items() if any(any(folder.glob(name)) for name in globs)), None)
