"""Square fields of tissue around given points, cut by physical size and resampled to what an encoder takes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from histoquilt._base import SlideImage, check_positive
from histoquilt.im._as_slide import as_slide, check_mpp, resample
from histoquilt.runtime import logger

MOST_SHRINKING = 2.0  # the resampler gets at least this many pixels per output pixel; the pyramid does what is above
FEWEST_PX = 4.0  # a field of fewer image pixels has nothing in it to describe


@dataclass(frozen=True)
class Fields:
    """Where to cut, in pixels of the image. Made by :func:`plan_fields`."""

    slide: SlideImage
    centres: np.ndarray  # (n_patches, 2) float64, x and y
    sides: tuple[float, ...]  # one a field, in image pixels; need not be whole
    out_px: int

    @property
    def padded(self) -> np.ndarray:
        """Which fields cross the border of the image, bool ``(n_fields, n_patches)``."""
        size = np.array([self.slide.width, self.slide.height])
        half = np.array(self.sides)[:, None, None] / 2
        crosses = (self.centres - half < 0) | (self.centres + half > size)
        return np.asarray(crosses.any(axis=2))

    def cut(self, start: int, stop: int) -> list[np.ndarray]:
        """Return the patches of some points: one uint8 ``(stop - start, out_px, out_px, 3)`` a field.

        The largest field is read once, reduced by a power of two that leaves the smallest at least
        ``MOST_SHRINKING`` pixels per output pixel, and all fields are resampled from it. Arrays and files without a
        pyramid give the same patches, bit for bit. Of a pyramid the coarsest level that is as fine as the reduction is
        read: the same up to rounding where its levels are means of blocks, as its writer made them otherwise.
        """
        return cut_together([self], start, stop)[0]


def cut_together(plans: Sequence[Fields], start: int, stop: int) -> list[list[np.ndarray]]:
    """Return the patches of some points, as :meth:`Fields.cut`, for fields that differ in ``out_px`` alone.

    A region is read once for all plans that need it at the same reduction, and each gives what it gives alone.
    """
    patches = [
        [np.empty((stop - start, plan.out_px, plan.out_px, 3), dtype=np.uint8) for _ in plan.sides] for plan in plans
    ]
    sides, slide = plans[0].sides, plans[0].slide
    steps = [_reduction(min(sides) / plan.out_px) for plan in plans]
    for row, (x, y) in enumerate(plans[0].centres[start:stop]):
        for step in dict.fromkeys(steps):
            # corners on multiples of the step, so that the pixels of a pyramid are taken as they are
            left, top = (int(np.floor((centre - max(sides) / 2) / step)) for centre in (x, y))
            right, bottom = (int(np.ceil((centre + max(sides) / 2) / step)) for centre in (x, y))
            width, height = right - left, bottom - top
            region = slide.read_region(
                left * step, top * step, width * step, height * step, out_px=(width, height) if step > 1 else None
            )
            for number, plan in enumerate(plans):
                for field, side in enumerate(sides if steps[number] == step else ()):
                    square = _square(region, x / step - left, y / step - top, side / step, plan.out_px)
                    patches[number][field][row] = square
    return patches


def _square(region: np.ndarray, x: float, y: float, side: float, out_px: int) -> np.ndarray:
    """Resample a square around ``(x, y)``; nothing beyond the pixels that it touches has a say, however much was read.

    So a field is the same whether it was cut alone or together with larger ones.
    """
    height, width = region.shape[:2]
    left, top = max(int(np.floor(x - side / 2)), 0), max(int(np.floor(y - side / 2)), 0)
    right, bottom = min(int(np.ceil(x + side / 2)), width), min(int(np.ceil(y + side / 2)), height)
    # rounding may put an edge 1e-12 outside what was read
    box = (max(x - side / 2 - left, 0.0), max(y - side / 2 - top, 0.0),
           min(x + side / 2 - left, right - left), min(y + side / 2 - top, bottom - top))  # fmt: skip
    return resample(region[top:bottom, left:right], (out_px, out_px), box)


def _reduction(ratio: float) -> int:
    """Power of two by which a region may be read reduced: half of the shrinking at most is left to the pyramid."""
    return 2 ** max(0, int(np.floor(np.log2(max(ratio / MOST_SHRINKING, 1.0)))))


def plan_fields(
    image: SlideImage | np.ndarray, centres_px: np.ndarray, *, mpp: float, field_um: Sequence[float], out_px: int
) -> Fields:
    """Check what was asked for and turn microns into pixels of the image.

    Raises
    ------
    ValueError
        ``mpp`` or a field is absurd, or the centres are not finite ``(n_patches, 2)``.
    """
    slide = as_slide(image)
    check_positive(mpp, "mpp")
    centres = np.asarray(centres_px, dtype=np.float64)
    if centres.ndim != 2 or centres.shape[1] != 2 or not np.isfinite(centres).all():
        raise ValueError(f"centres_px must be finite numbers of shape (n_patches, 2), x and y, got {centres.shape}.")
    if isinstance(out_px, bool) or not isinstance(out_px, int | np.integer) or out_px < 1:
        raise ValueError(f"out_px must be a whole number of pixels, got {out_px!r}.")
    if not field_um:
        raise ValueError("field_um is empty. Pass one side in microns, or several.")
    for field in field_um:
        check_positive(field, "field_um")
        if field / mpp < FEWEST_PX:
            raise ValueError(
                f"A field of {field:g} um is {field / mpp:.2g} pixels of the image at {mpp:g} um/px, too few to show "
                "anything. Pass a larger field_um, or the full-resolution image."
            )
    return Fields(slide, centres, tuple(float(field) / mpp for field in field_um), int(out_px))


def iter_patches(
    image: SlideImage | np.ndarray,
    centres_px: np.ndarray,
    *,
    mpp: float,
    field_um: float = 112.0,
    out_px: int = 224,
    batch_size: int = 64,
) -> Iterator[np.ndarray]:
    """Cut patches batch by batch, for slides whose patches do not fit into memory together.

    Parameters
    ----------
    image, centres_px, mpp, field_um, out_px
        As in :func:`extract_patches`.
    batch_size
        Patches at a time; the last batch may be smaller.

    Yields
    ------
    uint8 ``(n, out_px, out_px, 3)`` in the order of ``centres_px``.

    Examples
    --------
    >>> image = np.full((100, 100, 3), 240, dtype=np.uint8)
    >>> centres = np.array([[50.0, 50.0], [20.0, 80.0], [70.0, 30.0]])
    >>> [len(batch) for batch in iter_patches(image, centres, mpp=1.0, field_um=20, out_px=16, batch_size=2)]
    [2, 1]
    """
    check_mpp(mpp)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    fields = plan_fields(image, centres_px, mpp=mpp, field_um=[field_um], out_px=out_px)
    return (fields.cut(start, stop)[0] for start, stop in batches(len(fields.centres), batch_size))


def extract_patches(
    image: SlideImage | np.ndarray, centres_px: np.ndarray, *, mpp: float, field_um: float = 112.0, out_px: int = 224
) -> np.ndarray:
    """Cut a square field of tissue around each point.

    Parameters
    ----------
    image
        Opened slide (:func:`histoquilt.io.open_slide`) or RGB uint8 ``(height, width, 3)``.
    centres_px
        ``(n_patches, 2)``: x and y in full-resolution pixels of ``image``. Fractions of a pixel count.
    mpp
        Microns per full-resolution pixel of ``image``.
    field_um
        Side of the field in microns.
    out_px
        Side of a patch in pixels: the field is resampled to it.

    Returns
    -------
    uint8 ``(n_patches, out_px, out_px, 3)``. What lies outside the image is white, as empty glass; the number of such
    patches is logged. An array and a file of the same pixels give the same patches; a field of four pixels or more per
    pixel of a patch is read from the pyramid of a file that has one, whose levels may have been made otherwise.

    Raises
    ------
    TypeError
        ``image`` is neither a slide nor an array.
    ValueError
        The array is not RGB uint8, the centres have another shape, ``mpp`` is absurd, or the field is so small that
        it holds fewer than 4 x 4 pixels.

    See Also
    --------
    iter_patches : the same, streaming.
    embed_patches : patches of all spots of a section, described by an encoder.

    Examples
    --------
    >>> image = np.full((100, 100, 3), 240, dtype=np.uint8)
    >>> extract_patches(image, np.array([[50.0, 50.0]]), mpp=0.5, field_um=20, out_px=32).shape
    (1, 32, 32, 3)
    """
    check_mpp(mpp)
    fields = plan_fields(image, centres_px, mpp=mpp, field_um=[field_um], out_px=out_px)
    log_padding(fields, [field_um])
    return fields.cut(0, len(fields.centres))[0]


def log_padding(fields: Fields, field_um: Sequence[float]) -> list[int]:
    """Count the fields that cross the border, log them, and return one number a field."""
    counts = [int(n) for n in fields.padded.sum(axis=1)]
    for n_padded, field in zip(counts, field_um, strict=True):
        if n_padded:
            logger.info(
                "%d of %d fields of %g um cross the border of %s and are padded with white",
                n_padded, len(fields.centres), field, fields.slide.name,
            )  # fmt: skip
    return counts


def batches(n: int, batch_size: int) -> list[tuple[int, int]]:
    """Return the starts and stops of batches."""
    return list(pairwise([*range(0, n, batch_size), n]))
