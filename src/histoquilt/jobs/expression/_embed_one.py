"""Check and embedding of the image of one section; runs in this process or on a worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys
from histoquilt.jobs.work._errors import JobError, about

if TYPE_CHECKING:
    import numpy as np
    from anndata import AnnData

    from histoquilt._base import PatchEncoder


@dataclass(frozen=True)
class PlacedSection:
    """A section without its counts: spot positions and image."""

    centres: "np.ndarray"  # Spot centres ``(n_spots, 2 or 3)``, in full-resolution pixels
    ours: dict[str, Any]  # Metadata of coordinates and image that histoquilt recorded
    image: Path  # Path of the image file
    has_picture: bool  # True if the section already holds a downsampled image, so that none has to be made
    # Scale factors of the section's own images, name -> image pixels per full-resolution pixel
    scale_factors: dict[str, float]

    def section(self) -> "AnnData":
        """Return a section of no genes that can be embedded."""
        import pandas as pd
        from anndata import AnnData

        ours = {**self.ours, Keys.IMAGE: {**self.ours[Keys.IMAGE], "path": str(self.image)}}
        names = pd.RangeIndex(len(self.centres)).astype(str)
        return AnnData(obs=pd.DataFrame(index=names), obsm={Keys.SPATIAL: self.centres}, uns={Keys.UNS: ours})

    def section_to_check(self) -> "AnnData":
        """Return such a section with the scale factors of its own images, for error messages about coordinates."""
        adata = self.section()
        adata.uns[Keys.SPATIAL] = {"": {"scalefactors": self.scale_factors}}
        return adata


@dataclass(frozen=True)
class EmbedJob:
    """Settings that all sections share."""

    encoders: "tuple[PatchEncoder | str, ...]"  # The encoders, or their names if another process loads them
    device: str  # Device on which a named encoder runs
    digests: tuple[str, ...]  # Digests that the encoders must have
    fields_um: tuple[float, ...]  # Widths of the fields in microns
    bases: tuple[str, ...]  # Prefix of the keys in obsm, one an encoder
    cache: Path | None  # Folder for cached embeddings
    progress: bool  # If true, show a progress bar


def place(adata: "AnnData") -> PlacedSection:
    """Return what embedding a section needs; raise if it has no image."""
    from histoquilt.study import image_libraries, scale_factors, spot_centres

    ours = adata.uns.get(Keys.UNS, {})
    if Keys.IMAGE not in ours:
        raise JobError("it has no image. Fill the column image of samples.csv.")
    known = {key: ours[key] for key in (Keys.COORDINATES, Keys.IMAGE) if key in ours}
    image = Path(ours[Keys.IMAGE]["path"])
    has_picture = bool(image_libraries(adata))
    return PlacedSection(spot_centres(adata), known, image, has_picture, dict(scale_factors(adata)))


def check_image(placed: PlacedSection, subject: str) -> None:
    """Raise unless the image of a section is complete and its spots lie on tissue."""
    with about(subject):
        check_spots_on_tissue(placed.section_to_check())


def check_spots_on_tissue(adata: "AnnData", *, spatial_key: str = Keys.SPATIAL) -> Path:
    """Return the path of a section's image; raise unless the spots lie on its tissue."""
    from histoquilt import im, io

    image = adata.uns[Keys.UNS][Keys.IMAGE]
    with io.open_image(adata) as slide:
        im.check_on_tissue(
            adata, slide, mpp=image["mpp"], image_scale=image.get("image_scale", 1.0), spatial_key=spatial_key,
            strict=True,
        )  # fmt: skip
        return slide.path


def embed_one(placed: PlacedSection, name: str, job: EmbedJob) -> dict[str, Any]:
    """Embed the image of a section.

    Returns
    -------
    ``obsm`` and ``histoquilt`` (of ``uns``), dicts of what :func:`histoquilt.im.embed_patches` adds, and ``picture``,
    the ``uns["spatial"]`` of a section that has none yet.
    """
    from histoquilt import im, io

    adata = placed.section()
    image = adata.uns[Keys.UNS][Keys.IMAGE]
    before = set(adata.uns[Keys.UNS])
    with about(f"section {name!r}"), io.open_image(adata) as slide:
        encoders = [
            load_encoder(one, job.device, digest) if isinstance(one, str) else one
            for one, digest in zip(job.encoders, job.digests, strict=True)
        ]
        im.embed_patches(
            adata, slide, mpp=image["mpp"], encoder=encoders, field_um=job.fields_um, key_added=job.bases,
            image_scale=image.get("image_scale", 1.0), cache=job.cache, progress=job.progress,
        )  # fmt: skip
        if not placed.has_picture:
            im.attach_picture(adata, slide, image_scale=image.get("image_scale", 1.0))
    ours: Mapping[str, Any] = adata.uns[Keys.UNS]
    return {
        "obsm": {key: value for key, value in adata.obsm.items() if key != Keys.SPATIAL},
        "histoquilt": {key: value for key, value in ours.items() if key not in before | {Keys.WRITTEN}},
        "picture": adata.uns.get(Keys.SPATIAL),
    }


def write_embedding(adata: "AnnData", embedded: Mapping[str, Any]) -> None:
    """Write the results of :func:`embed_one` into a section."""
    from histoquilt.study import write_result

    for key, value in embedded["obsm"].items():
        write_result(adata, "obsm", key, value)
    adata.uns[Keys.UNS] |= embedded["histoquilt"]
    if embedded["picture"]:
        adata.uns[Keys.SPATIAL] = embedded["picture"]


@lru_cache(maxsize=4)
def load_encoder(name: str, device: str, digest: str) -> "PatchEncoder":
    """Return an image encoder by name, loaded once per process; raise if its digest differs."""
    from histoquilt import im

    encoder = im.get_encoder(name, device=device)
    if encoder.digest != digest:
        raise JobError(
            f"on this worker {name} is another encoder (digest {encoder.digest[:12]}, not {digest[:12]}). Install the "
            "same on every machine."
        )
    return encoder


def keys_of(bases: Sequence[str], fields_um: Sequence[float]) -> list[str]:
    """Return the keys in ``obsm``, encoder by encoder, in the order of the fields."""
    return [f"{base}_{field:g}um" for base in bases for field in fields_um]
