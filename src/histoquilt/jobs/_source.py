"""Source of one section or slide: plain data from which any process can read it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histoquilt._base import DEFAULT_READ_OPTIONS, Keys, ReadOptions
from histoquilt.runtime import logger

if TYPE_CHECKING:
    from anndata import AnnData

_MOST_OF_MEMORY = 0.25  # of what is available, that counts may take


@dataclass(frozen=True)
class AnnotationFile:
    """File with the annotations of one section."""

    path: Path  # The file
    image_scale: float | None = None  # Coordinate units per pixel of the image that was annotated
    spatial_key: str = Keys.SPATIAL  # Key in obsm of the spot centres

    def annotate(self, adata: "AnnData") -> "AnnData":
        """Write the labels into a section, and return it."""
        from histoquilt.io import annotate_spots

        annotate_spots(adata, self.path, image_scale=self.image_scale, spatial_key=self.spatial_key)
        return adata


@dataclass(frozen=True)
class Source:
    """A section or slide before it is read; unlike a :class:`~histoquilt.study.Section` it holds no data.

    Its text identifies the input in the digest of a resumable run.
    """

    name: str  # Name of the section
    path: Path  # File or folder of the section
    table: Path | None = None  # The ``samples.csv`` with a row for the section, if it was not given by its own file
    row: str = ""  # Row of the table as text, used to detect changes
    options: ReadOptions = DEFAULT_READ_OPTIONS  # Options for reading the section
    image: Path | None = None  # H&E image, if the section does not name one itself
    mpp: float | None = None  # Microns per pixel of ``image`` or of a slide, in place of what its file says
    annotations: AnnotationFile | None = None  # A pathologist's annotations, if a ``samples.csv`` does not name them

    def read(self, *, whole: bool = True) -> "AnnData":
        """Read the section; not ``whole``: as :func:`read_file` does."""
        if self.table is not None:
            from histoquilt.io import read_sample

            adata = read_sample(self.table, self.name, self.options)
        else:
            adata = read_file(self.path, whole=whole, options=self.options)
        if self.image is not None:
            from histoquilt.io import attach_image

            attach_image(adata, self.image, mpp=self.mpp)
        return adata if self.annotations is None else self.annotations.annotate(adata)


def read_file(path: Path, *, whole: bool, options: ReadOptions) -> "AnnData":
    """Read a section; unless ``whole``, counts that would fill much of the memory stay in their file."""
    from histoquilt import io
    from histoquilt.io import matrix_bytes, settle_spots
    from histoquilt.runtime import available_bytes, in_words

    available = None if whole or path.suffix != ".h5ad" else available_bytes()
    if available is None or (size := matrix_bytes(path)) <= _MOST_OF_MEMORY * available:
        return io.read_section(path, **asdict(options))
    logger.info("%s: %s of counts stay in the file, and are read as they are needed.", path.name, in_words(size))
    adata = settle_spots(io.read_h5ad(path, backed=True), options)
    if options.one_section:
        io.declare_one_section(adata)
    return adata


def without_counts(adata: "AnnData") -> "AnnData":
    """Drop the matrices of spots by genes, in place: after a check, the job reads the section again."""
    from histoquilt.study import named_layers

    adata.X = None
    adata.raw = None
    for name in named_layers(adata):
        del adata.layers[name]
    return adata
