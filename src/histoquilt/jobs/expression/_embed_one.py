"""Check and embedding of the image of one section; runs in this process or on a worker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histoquilt._base import Keys
from histoquilt.jobs.work._errors import JobError, about

if TYPE_CHECKING:
    from anndata import AnnData

    from histoquilt._base import PatchEncoder


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


def without_genes(adata: "AnnData") -> "AnnData":
    """Return what embedding a section needs, small enough to be sent to a worker; raise if it has no image.

    It has the spot centres, the records of coordinates and image, and of the section's own pictures the scale factors.
    """
    import pandas as pd
    from anndata import AnnData

    from histoquilt.study import image_libraries, library_part, spot_centres

    ours = adata.uns.get(Keys.UNS, {})
    if Keys.IMAGE not in ours:
        raise JobError("it has no image. Fill the column image of samples.csv.")
    records = {key: ours[key] for key in (Keys.COORDINATES, Keys.IMAGE) if key in ours}
    factors = {
        name: {"scalefactors": dict(library_part(library, "scalefactors"))}
        for name, library in image_libraries(adata).items()
    }
    names = pd.RangeIndex(adata.n_obs).astype(str)
    uns = {Keys.UNS: records, Keys.SPATIAL: factors}
    return AnnData(obs=pd.DataFrame(index=names), obsm={Keys.SPATIAL: spot_centres(adata)}, uns=uns)


def check_image(adata: "AnnData", subject: str) -> None:
    """Raise unless the image of a section is complete and its spots lie on tissue."""
    with about(subject):
        check_spots_on_tissue(adata)


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


def embed_one(adata: "AnnData", name: str, job: EmbedJob) -> dict[str, Any]:
    """Embed the image of a section, of which ``adata`` is the part without genes.

    Returns
    -------
    ``obsm`` and ``histoquilt`` (of ``uns``), dicts of what :func:`histoquilt.im.embed_patches` adds, and ``picture``,
    the ``uns["spatial"]`` of a section that has none yet.
    """
    from histoquilt import im, io

    image = adata.uns[Keys.UNS][Keys.IMAGE]
    before, has_picture = set(adata.uns[Keys.UNS]), bool(adata.uns[Keys.SPATIAL])
    with about(f"section {name!r}"), io.open_image(adata) as slide:
        encoders = [
            load_encoder(one, job.device, digest) if isinstance(one, str) else one
            for one, digest in zip(job.encoders, job.digests, strict=True)
        ]
        im.embed_patches(
            adata, slide, mpp=image["mpp"], encoder=encoders, field_um=job.fields_um, key_added=job.bases,
            image_scale=image.get("image_scale", 1.0), cache=job.cache, progress=job.progress,
        )  # fmt: skip
        im.attach_picture(adata, slide, image_scale=image.get("image_scale", 1.0))
    ours: Mapping[str, Any] = adata.uns[Keys.UNS]
    return {
        "obsm": {key: value for key, value in adata.obsm.items() if key != Keys.SPATIAL},
        "histoquilt": {key: value for key, value in ours.items() if key not in before | {Keys.WRITTEN}},
        "picture": None if has_picture else adata.uns[Keys.SPATIAL],
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
