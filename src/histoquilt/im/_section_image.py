"""Image embeddings of sections: those that they have, or of the images that they know."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from skimage.util import img_as_ubyte

from histoquilt._base import Keys, MissingKey, PatchEncoder, argument, either, listed
from histoquilt.im._embed import embed_patches
from histoquilt.im._grid import default_fields
from histoquilt.im._on_tissue import check_on_tissue
from histoquilt.io import Slide, open_image
from histoquilt.runtime import logger
from histoquilt.study import Section, image_libraries, library_part, provenance, spot_centres


def embedding_keys_of(
    sections: Mapping[str, Section],
    *,
    image_key: str | Sequence[str] | None = None,
    encoder: str | PatchEncoder | None = None,
) -> tuple[str, ...] | None:
    """Return the keys in ``obsm`` of the image embeddings of sections; None if their images have to be embedded.

    Parameters
    ----------
    sections
        Sections by name, at least one; not changed.
    image_key
        Embeddings to use, which all sections must have. By default those of :func:`embed_patches` that all sections
        have, of each encoder the one whose field is nearest to the spot distance: wider fields of neighbouring spots
        overlap, and are alike for that reason alone.
    encoder
        Image encoder; only its embeddings are used if ``image_key`` is not given.

    Raises
    ------
    KeyError
        ``image_key`` is missing, or a section has neither embedding nor image.
    ValueError
        More than half of the spots of a section lie outside its image.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt.study import Section
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> adata.obsm["X_uni"] = np.zeros((60, 8), np.float32)
    >>> hq.im.embedding_keys_of({"s1": Section("s1", adata)}, image_key="X_uni")
    ('X_uni',)
    """
    if image_key is not None:
        keys = (image_key,) if isinstance(image_key, str) else tuple(image_key)
        for key in keys:
            for name, section in sections.items():
                if key not in section.view.obsm:
                    raise MissingKey(key, _obsm(name), section.view.obsm, f"Pass {argument('image_key')}.")
        return keys
    keys = _recorded(sections, encoder)
    if keys:
        logger.info("Image embeddings: %s.", ", ".join(keys))
        return keys
    for name, section in sections.items():
        if Keys.IMAGE in section.owner.uns.get(Keys.UNS, {}):
            with open_image(section.adata):
                continue
        if _picture(section.adata) is None:
            remedy = either(
                "Attach its image (histoquilt.io.attach_image, or the column image of samples.csv) or embed it "
                "(histoquilt.im.embed_patches), or name an embedding of the image: image_key=.",
                "Name its image in the column image of a samples.csv, or an embedding of it in obsm: --image-key.",
            )
            raise KeyError(
                f"{_called(name).capitalize()} has neither an image nor an image embedding made by histoquilt (obsm "
                f"holds {listed(section.view.obsm)}). {remedy}"
            )
    return None


def embed_section(
    section: Section,
    *,
    encoder: PatchEncoder,
    field_um: float | None = None,
    progress: bool = True,
) -> AnnData:
    """Embed the image of a section: the attached one, else the one in ``uns["spatial"]``.

    An image is attached by :func:`histoquilt.io.attach_image` or the column ``image`` of a ``samples.csv``.

    Parameters
    ----------
    section
        One section, not changed.
    encoder
        Image encoder (:func:`get_encoder`).
    field_um
        Side of the field in microns; by default the spot distance, at least 50.
    progress
        If true, show a progress bar.

    Returns
    -------
    Its spots without genes, with what :func:`embed_patches` writes.

    Raises
    ------
    ValueError
        The spots do not lie on the tissue of the image (:func:`check_on_tissue`), or microns per pixel are unknown.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from PIL import Image
    >>> from histoquilt.study import Section
    >>> class MeanColor:
    ...     name, n_features, input_px, mpp, digest, licence, citation = "mean_color", 3, 16, None, "1", "", ""
    ...     def embed(self, patches):
    ...         return patches.mean(axis=(1, 2), dtype=np.float32)
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> image = np.full((600, 600, 3), 240, np.uint8)
    >>> image[10:590, 10:590] = (200, 120, 170)
    >>> path = getfixture("tmp_path") / "he.png"
    >>> Image.fromarray(image).save(path)
    >>> adata.obsm["spatial"] /= 2  # pixels of 2 um
    >>> hq.io.record_coordinates(adata, "pixel", mpp=2)
    >>> hq.io.attach_image(adata, path)
    >>> spots = hq.im.embed_section(Section("s1", adata), encoder=MeanColor(), progress=False)
    >>> spots.shape, spots.obsm["X_mean_color"].shape
    ((60, 0), (60, 3))
    """
    known = section.owner.uns.get(Keys.UNS, {})
    records = {key: known[key] for key in (Keys.COORDINATES, Keys.IMAGE) if key in known}
    spots = AnnData(obs=section.adata.obs[[]].copy(), obsm={Keys.SPATIAL: spot_centres(section.adata, Keys.SPATIAL)})
    provenance(spots).update(records)
    field = default_fields(section.nominal_pitch_um)[0] if field_um is None else field_um
    with closing(_image_of(section, spots)) as image:
        options: dict[str, Any] = {"mpp": image.mpp, "image_scale": image.scale}
        check_on_tissue(spots, image.slide, **options, strict=True)
        embed_patches(spots, image.slide, **options, encoder=encoder, field_um=field, progress=progress)
    return spots


@dataclass(frozen=True)
class _Image:
    slide: Slide | np.ndarray
    mpp: float  # microns per coordinate pixel
    scale: float  # coordinate pixels per image pixel

    def close(self) -> None:
        if not isinstance(self.slide, np.ndarray):
            self.slide.close()


def _image_of(section: Section, spots: AnnData) -> _Image:
    record = provenance(spots).get(Keys.IMAGE)
    if record is not None:
        slide = open_image(spots)
        return _Image(slide, float(record["mpp"]), float(record.get("image_scale", 1.0)))
    picture = _picture(section.adata)
    assert picture is not None
    if section.mpp is None:
        raise ValueError(
            f"The coordinates of {_called(section.name)} are microns, and its image is in pixels. Attach the image "
            "with its alignment (histoquilt.io.place_on_image)."
        )
    return _Image(picture[0], section.mpp, picture[1])


def _picture(adata: AnnData) -> tuple[np.ndarray, float] | None:
    """Return the image in ``uns["spatial"]``, uint8, and coordinate pixels per image pixel; None unless there is one.

    The hires image comes before the lowres one.
    """
    libraries = list(image_libraries(adata).values())
    if len(libraries) != 1:
        return None
    images, factors = (library_part(libraries[0], part) for part in ("images", "scalefactors"))
    for size in ("hires", "lowres"):
        factor = factors.get(f"tissue_{size}_scalef")
        if factor and images.get(size) is not None:
            return img_as_ubyte(np.ascontiguousarray(images[size][..., :3])), 1 / float(factor)
    return None


def _recorded(sections: Mapping[str, Section], encoder: str | PatchEncoder | None) -> tuple[str, ...]:
    """Return the embeddings that all sections have from one encoder, of each encoder that of the fittest field."""
    first, *others = sections.values()
    wanted = encoder if encoder is None or isinstance(encoder, str) else encoder.name
    keys: dict[str, list[str]] = {}
    for key in first.view.obsm:
        record = first.record(key)
        if "encoder" not in record or wanted not in (None, record["encoder"]):
            continue
        if all(key in one.view.obsm and one.record(key).get("digest") == record.get("digest") for one in others):
            keys.setdefault(str(record["encoder"]), []).append(key)

    def apart(key: str) -> float:
        return abs(float(np.log(first.record(key)["field_um"] / default_fields(first.nominal_pitch_um)[0])))

    return tuple(several[0] if len(several) == 1 else min(several, key=apart) for several in keys.values())


def _called(name: str) -> str:
    return f"section {name!r}" if name else "this section"


def _obsm(name: str) -> str:
    return f"obsm of section {name!r}" if name else "adata.obsm"
