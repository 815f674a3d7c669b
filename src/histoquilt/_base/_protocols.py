"""Protocols that rooms share: slide images and patch encoders."""

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np


@runtime_checkable
class SlideImage(Protocol):
    """H&E image that is read by region, as returned by :func:`histoquilt.io.open_slide`.

    Attributes
    ----------
    name
        File name without extension, or the name given by the caller.
    width, height
        Size of the full-resolution image in pixels.
    mpp
        Microns per full-resolution pixel from the file's metadata, or None.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt._base import SlideImage
    >>> slide = hq.io.ArraySlide(np.zeros((100, 200, 3), np.uint8))
    >>> slide.width, slide.height, slide.read_region(0, 0, 50, 40).shape, isinstance(slide, SlideImage)
    (200, 100, (40, 50, 3), True)
    """

    name: str
    width: int
    height: int
    mpp: float | None

    def read_region(
        self, x: float, y: float, width: float, height: float, *, out_px: tuple[int, int] | None = None
    ) -> "np.ndarray":
        """Return a rectangle as RGB uint8 ``(rows, columns, 3)``.

        Parameters
        ----------
        x, y
            Upper left corner in full-resolution pixels; pixels outside the image are white.
        width, height
            Size in full-resolution pixels.
        out_px
            Size ``(width, height)`` of the result, averaged down from the nearest finer level of a pyramid; by default
            full resolution.
        """
        ...


@runtime_checkable
class PatchEncoder(Protocol):
    """Image encoder for square H&E patches, as returned by :func:`histoquilt.im.get_encoder`.

    Attributes
    ----------
    name
        Name as the user wrote it: ``he_texture``, ``onnx:PATH``, ``timm:NAME``, ``hf-hub:NAME``.
    n_features
        Width of the embedding.
    input_px
        Side of the input patches in pixels.
    mpp
        Microns per pixel of the training images, or ``None`` if the encoder accepts any.
    digest
        SHA-256 of what determines the output (weights or settings). Embeddings with the same digest are comparable.
    licence, citation
        Licence and citation of the weights; empty if there are none.

    Examples
    --------
    >>> import numpy as np
    >>> from histoquilt._base import PatchEncoder
    >>> class MeanColor:
    ...     name, n_features, input_px, mpp, digest, licence, citation = "mean_color", 3, 16, None, "1", "", ""
    ...     def embed(self, patches):
    ...         return patches.mean(axis=(1, 2), dtype=np.float32)
    >>> MeanColor().embed(np.full((2, 16, 16, 3), 200, np.uint8)).shape, isinstance(MeanColor(), PatchEncoder)
    ((2, 3), True)
    """

    name: str
    n_features: int
    input_px: int
    mpp: float | None
    digest: str
    licence: str
    citation: str

    def embed(self, patches: "np.ndarray") -> "np.ndarray":
        """Return float32 ``(n_patches, n_features)`` of uint8 ``(n_patches, input_px, input_px, 3)``."""
        ...
