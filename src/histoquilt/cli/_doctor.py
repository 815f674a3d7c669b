"""``histoquilt doctor``: installed packages, readable formats, and how to install what is missing."""

import os
import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import histoquilt
from histoquilt._base import EXPORTERS, is_installed
from histoquilt.jobs import PACKAGES, package_versions
from histoquilt.runtime import use_threads

# what can be read -> (import name, extra that brings it); no import name: always there
FORMATS = {
    "AnnData (.h5ad)": None,
    "10x Visium folders of Space Ranger 1 to 4, HDF5 or matrix market": None,
    "positions and outlines in .parquet (Visium HD, Xenium)": ("pyarrow", "spatial"),
    "legacy Spatial Transcriptomics (counts and spot tables)": None,
    "tables of counts and coordinates": None,
    "SpatialData (.zarr)": ("spatialdata", "spatial"),
    "Visium HD; cells of Xenium, CosMx and MERSCOPE; Curio Seeker (Slide-seq)": None,
    "Stereo-seq, seqFISH, DBiT-seq": ("spatialdata_io", "spatial"),
}
IMAGES = {
    "JPEG, PNG, and TIFF or OME-TIFF without compression, deflate or packbits": None,
    "TIFF and OME-TIFF with JPEG, JPEG 2000, LZW, zstd": ("imagecodecs", "wsi"),
    "SVS, NDPI, MRXS, SCN, BIF, VMS, DICOM, CZI": ("openslide", "wsi"),
    "other images, through libvips": ("pyvips", "wsi"),
}
# extra -> what it is for, and the import names that it brings
EXTRAS = {
    "spatial": (
        "further platforms, SpatialData, squidpy",
        ("spatialdata", "spatialdata_io", "squidpy", "pyarrow", "zarr"),
    ),
    "align": ("alignment by PASTE", ("ot",)),
    "wsi": ("whole-slide images", ("openslide", "pyvips", "imagecodecs")),
    "onnx": ("image encoders onnx:PATH", ("onnxruntime",)),
    "openvino": ("the same encoders, faster on Intel and AMD", ("openvino",)),
    "timm": ("image encoders timm:NAME and hf-hub:NAME", ("timm", "torchvision")),
    "leiden": ("Leiden clustering, Harmony as a measure of mixing", ("igraph", "leidenalg", "harmonypy")),
    "export": ("polygons for QuPath, and annotations drawn in it", ("shapely",)),
    "studies": ("download of public studies", ("pooch", "requests")),
    "hub": ("model folders from the Hugging Face Hub", ("huggingface_hub",)),
    "dask": ("sections and slides on a Dask cluster", ("dask", "distributed")),
}


_DISTRIBUTIONS = {"openslide": "openslide-python", "ot": "POT"}  # where import and package names differ


def examine() -> Iterator[str]:
    """Yield the lines of the report, the quick ones first."""
    yield f"histoquilt {histoquilt.__version__}"
    yield f"Python {platform.python_version()} on {platform.platform()}"
    yield ""
    yield "Packages"
    for name, found in package_versions(PACKAGES).items():
        yield f"  {name:<14}{found or 'MISSING: pip install --force-reinstall histoquilt'}"
    yield ""
    yield "Compute"
    yield from (f"  {line}" for line in _compute())
    yield ""
    for title, formats in (("Readable formats", FORMATS), ("Readable slides", IMAGES)):
        yield title
        for name, need in formats.items():
            if need is None or is_installed(need[0]):
                yield f"  yes  {name}"
            else:
                yield f"  no   {name}: {_remedy(need[1])}"
        yield ""
    yield "Exporters"
    yield from (f"  {line}" for line in _exporters())
    yield ""
    yield "Extras"
    for extra, (purpose, modules) in EXTRAS.items():
        missing = [module for module in modules if not is_installed(module)]
        if missing:
            yield f"  {extra:<9}{purpose}; missing {', '.join(missing)}: {_remedy(extra)}"
        else:
            yield f"  {extra:<9}{purpose}: {', '.join(f'{module} {_version(module)}' for module in modules)}"


def _exporters() -> Iterator[str]:
    for name in EXPORTERS.names():
        try:
            exporter = EXPORTERS.load(name)
            missing = {package for module, package in exporter.needs.items() if not is_installed(module)}
        except Exception as error:  # of another package
            yield f"no   {name}: {' '.join(str(error).split())}"
            continue
        if missing:
            yield f"no   {name} ({exporter.label}): pip install {' '.join(map(repr, sorted(missing)))}"
        else:
            yield f"yes  {name} ({exporter.label}): {exporter.files}"


def _compute() -> Iterator[str]:
    try:
        import torch
    except (ImportError, OSError) as error:  # a build for another CPU or CUDA fails with OSError
        yield f"torch does not load ({' '.join(str(error).split())}). Reinstall it as pytorch.org says."
        return
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        yield f"device 'auto' is cuda: {', '.join(names)}"
    elif torch.version.cuda:
        yield "device 'auto' is cpu: torch was built for CUDA, but sees no GPU. Check the driver with nvidia-smi."
    else:
        yield "device 'auto' is cpu: this torch has no CUDA; for an NVIDIA GPU, install the build named on pytorch.org"
    with use_threads() as n_threads:
        threads, cores = _counted(n_threads, "thread"), _counted(os.cpu_count() or 1, "core")
        yield f"{threads} on {cores}; OMP_NUM_THREADS or --threads changes it"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _remedy(extra: str) -> str:
    return f"pip install 'histoquilt[{extra}]'"


def _version(module: str) -> str:
    try:
        return version(_DISTRIBUTIONS.get(module, module.replace("_", "-")))
    except PackageNotFoundError:
        return "(version unknown)"
