"""The image of sections in the search for domains: its embedding, and how a model uses it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
from anndata import AnnData

from histoquilt._base import DEFAULT_ENCODER, PatchEncoder, argument, listed
from histoquilt.im import default_keys, embed_section, embedding_keys_of, get_encoder
from histoquilt.models._domain_model import DomainModel
from histoquilt.models.domains._feature_config import ImageRole
from histoquilt.models.domains._feature_model import FeatureModel
from histoquilt.study import Section, provenance, write_result


@dataclass(frozen=True)
class ImageUse:
    """Requested use of the image in a search for domains; made and checked by :meth:`of`.

    Examples
    --------
    >>> import histoquilt as hq
    >>> model = hq.models.SpatialFactors()
    >>> use = hq.models.ImageUse.of("features", "X_image", None, model=model, use_rep=None)
    >>> use.role, use.key
    ('features', 'X_image')
    >>> hq.models.ImageUse.of("edges", "X_image", None, model=hq.models.SpaMask(), use_rep=None)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: SpaMask cannot use image='edges': it takes all links of the graph for equal; ...
    """

    role: ImageRole
    key: str | Sequence[str] | None  # embeddings in obsm
    encoder: str | PatchEncoder | None

    @classmethod
    def of(
        cls,
        role: ImageRole | None,
        key: str | Sequence[str] | None,
        encoder: str | PatchEncoder | None,
        *,
        model: DomainModel,
        use_rep: str | None,
    ) -> "ImageUse | None":
        """Check the arguments; None if the image is not used."""
        if role is None:
            if key is not None or encoder is not None:
                given = argument("encoder") if key is None else argument("image_key")
                raise ValueError(
                    f"{given} is of the image, which is not used. Pass {argument('image', 'edges')}, "
                    f"{argument('image', 'features')} or {argument('image', 'only')}, or leave it out."
                )
            return None
        if role not in get_args(ImageRole):
            raise ValueError(f"{argument('image')} is one of {listed(get_args(ImageRole))}, got {role!r}.")
        if key is not None and encoder is not None:
            raise ValueError(
                f"{argument('image_key')} takes embeddings that are there, and {argument('encoder')} makes new ones. "
                "Choose one."
            )
        if not isinstance(model, FeatureModel) or (role == "edges" and not model.weighs_links):
            raise ValueError(f"{type(model).__name__} cannot use {argument('image', role)}: {_why(model)}.")
        if role == "only" and use_rep is not None:
            raise ValueError(
                f"{argument('image', 'only')} and {argument('use_rep', use_rep)} both replace the genes. Choose one."
            )
        return cls(role, key, encoder)

    def configure(self, sections: Mapping[str, Section], model: DomainModel) -> "NewEmbeddings | None":
        """Find the embeddings and set the config of the model; return what is to be embedded, if anything.

        Raises
        ------
        KeyError, ValueError
            As :func:`histoquilt.im.embedding_keys_of`; the encoder is unknown.
        """
        keys, new = embedding_keys_of(sections, image_key=self.key, encoder=self.encoder), None
        if keys is None:
            encoder = self.encoder or DEFAULT_ENCODER
            new = NewEmbeddings(sections, get_encoder(encoder) if isinstance(encoder, str) else encoder)
            keys = (new.key,)
        settings: Any = model.config
        model.config = replace(settings, image=self.role, image_keys=keys)
        return new


@dataclass(frozen=True)
class NewEmbeddings:
    """Sections whose images will be embedded by one encoder, all with the field that suits the first.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt.study import Section
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> adata.uns["spatial"] = {"a": {"images": {}, "scalefactors": {}}}
    >>> encoder = hq.im.get_encoder("he_texture")
    >>> hq.models.NewEmbeddings({"a": Section("a", adata)}, encoder).key
    'X_he_texture'
    """

    sections: Mapping[str, Section]
    encoder: PatchEncoder

    @property
    def key(self) -> str:
        """Key in ``obsm`` of the embedding."""
        return default_keys([self.encoder])[0]

    def write(self, adata: AnnData, *, joined: bool = False, progress: bool) -> None:
        """Embed the images, and write the embedding into the AnnData of all spots.

        If ``joined``, the sections follow each other in ``adata``; otherwise they have the rows that they had.
        """
        parts: list[AnnData] = []
        for section in self.sections.values():
            field = provenance(parts[0])[self.key]["field_um"] if parts else None
            parts.append(embed_section(section, encoder=self.encoder, field_um=field, progress=progress))
        values = np.concatenate([part.obsm[self.key] for part in parts])
        rows = [section.rows for section in self.sections.values() if section.rows is not None]
        if rows and not joined:
            values = values[np.argsort(np.concatenate(rows))]
        write_result(adata, "obsm", self.key, values)
        provenance(adata)[self.key] = provenance(parts[0])[self.key]


def _why(model: DomainModel) -> str:
    if isinstance(model, FeatureModel):
        return "it takes all links of the graph for equal; 'features' and 'only' are possible"
    return "it makes its own features"
