"""Prediction of one section or slide, from its file to its result files; runs in this process or on a worker."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys
from histoquilt.jobs._source import Source
from histoquilt.jobs.work._errors import JobError, about, writing
from histoquilt.jobs.work._record import capture_warnings
from histoquilt.jobs.work._resume import Item

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt._base import PatchEncoder
    from histoquilt.models import ExpressionModel

SUFFIXES = (".h5ad", ".csv")  # of the files that are written
SECTION_SUFFIXES = {".h5ad", ".zarr", ".h5"}


def is_section(path: Path) -> bool:
    """Whether an input holds spots; other files are slides."""
    return path.is_dir() or path.suffix.lower() in SECTION_SUFFIXES


@dataclass(frozen=True)
class PredictSettings:
    """Settings that all inputs share."""

    model: Path  # Folder of the model
    digest: str  # Digest of the folder
    encoders: tuple[str, ...]  # Names of image encoders that differ from those that the model names
    device: str  # Device on which networks run
    pitch_um: float | None  # Distance between the spots of a bare slide
    cache: Path | None  # Folder for cached embeddings of sections
    out: Path  # Output folder, for messages
    kept: Path | None  # Folder in which finished results survive a failure, for messages
    progress: bool  # If true, show a progress bar
    check_memory: bool  # If true, refuse predictions that need more memory than is available


def predict_one(item: Item, source: Source, settings: PredictSettings, trained_on: str | None) -> dict[str, Any]:
    """Predict one section or slide and write ``<name>.h5ad`` and ``<name>.csv``.

    ``trained_on`` names the training section that was read from the same file, if there is one.

    Returns
    -------
    ``n_spots``, ``n_genes``, ``out_of_distribution`` (share of spots), ``transfers`` (``None`` if not judged) and
    ``warnings``.

    Raises
    ------
    JobError
        The prediction failed.
    WriteError
        Results cannot be written.
    """
    from histoquilt.io import write_h5ad
    from histoquilt.models import warn_seen
    from histoquilt.runtime import atomic_file
    from histoquilt.study import provenance

    with capture_warnings() as warnings, about(item.name):
        model, encoders = equipment(settings.model, settings.digest, settings.encoders, settings.device)
        adata = _predicted(source, model, encoders, settings)
        record = provenance(adata)["prediction"]
        if trained_on is not None and "seen_in_training" not in record:
            record["seen_in_training"] = trained_on
            warn_seen(item.name, "file", trained_on)
    with writing(settings.out, kept=settings.kept):
        write_h5ad(adata, item.file(".h5ad"))
        with atomic_file(item.file(".csv")) as beside:
            write_table(adata, beside)
        facts = {
            "n_spots": adata.n_obs,
            "n_genes": adata.n_vars,
            "out_of_distribution": float(adata.obs[Keys.OUT_OF_DISTRIBUTION].mean()),
            "transfers": None if (transfers := record.get("transfers")) is None else bool(transfers),
            "warnings": warnings,
        }
        item.finish(SUFFIXES, facts)
    return facts


@lru_cache(maxsize=1)
def equipment(
    folder: Path, digest: str, encoders: tuple[str, ...], device: str
) -> "tuple[ExpressionModel, list[PatchEncoder]]":
    """Return a model and its image encoders, loaded once per process; ``digest`` is that of the folder."""
    from histoquilt.models import trained_encoders

    model = load_model(folder, device)
    return model, trained_encoders(model, encoders, device=device)


def load_model(folder: Path, device: str) -> "ExpressionModel":
    """Load a model that predicts expression."""
    from histoquilt import models

    with about(folder):
        model = models.load(folder, device=device)
    if not isinstance(model, models.ExpressionModel):
        raise JobError(
            f"{folder} holds a {type(model).__name__}, which does not predict expression. Give a model that "
            "histoquilt train made."
        )
    return model


def write_table(adata: "AnnData", file: Path) -> None:
    """Write one row per spot: ``spot, x_um, y_um, out_of_distribution`` and the genes, log1p of counts per 10,000."""
    import pandas as pd

    from histoquilt.pp import row_chunks
    from histoquilt.study import provenance

    where = adata.obsm[Keys.IN_MICRONS]
    values = adata.layers[provenance(adata)["prediction"]["layer"]]
    outside = adata.obs[Keys.OUT_OF_DISTRIBUTION].to_numpy()
    with file.open("w", encoding="utf-8", newline="") as handle:
        for rows in row_chunks(*values.shape):
            front = pd.DataFrame({
                "spot": adata.obs_names[rows], "x_um": where[rows, 0], "y_um": where[rows, 1],
                "out_of_distribution": outside[rows],
            })  # fmt: skip
            table = pd.concat([front, pd.DataFrame(values[rows], columns=list(adata.var_names))], axis=1)
            table.to_csv(handle, header=rows.start == 0, index=False, float_format="%.5g")


def _predicted(
    source: Source, model: "ExpressionModel", encoders: "list[PatchEncoder]", settings: PredictSettings
) -> "AnnData":
    if source.table is None and not is_section(source.path):
        from histoquilt.io import open_slide

        with open_slide(source.path, mpp=source.mpp) as slide:
            predicted = model.predict(
                slide, mpp=slide.mpp, pitch_um=settings.pitch_um, encoder=encoders, progress=settings.progress,
                check_memory=settings.check_memory,
            )  # fmt: skip
        return predicted if source.annotations is None else source.annotations.annotate(predicted)
    adata = source.read()
    if not all(rep in adata.obsm for rep in model.fitted.inputs.reps):
        _describe(adata, model, encoders, settings)
    return model.predict(adata, check_memory=settings.check_memory)


def _describe(
    adata: "AnnData", model: "ExpressionModel", encoders: "list[PatchEncoder]", settings: PredictSettings
) -> None:
    """Embed the image of a section as the model's training sections were embedded."""
    from histoquilt import im, io
    from histoquilt.models import describe_spots

    fitted = model.fitted
    image = adata.uns[Keys.UNS][Keys.IMAGE]
    scale = image.get("image_scale", 1.0)
    with io.open_image(adata) as slide:
        describe_spots(
            adata, slide, fitted, mpp=image["mpp"], encoder=encoders, spatial_key=fitted.spatial_key,
            image_scale=scale, cache=settings.cache, progress=settings.progress,
        )  # fmt: skip
        im.attach_picture(adata, slide, image_scale=scale, spatial_key=fitted.spatial_key)
