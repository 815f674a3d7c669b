"""Names of coordinate columns: which is x, y and z."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

# x runs along the columns of an image, y along its rows; more specific names first
_PAIRS = (
    ("pxl_col_in_fullres", "pxl_row_in_fullres"), ("pixel_x", "pixel_y"), ("imagecol", "imagerow"),
    ("CenterX_global_px", "CenterY_global_px"), ("x_centroid", "y_centroid"), ("center_x", "center_y"),
    ("x_global_px", "y_global_px"), ("global_x", "global_y"), ("sdimx", "sdimy"), ("x_location", "y_location"),
    ("spatial_x", "spatial_y"), ("x_coord", "y_coord"), ("x_um", "y_um"), ("x_px", "y_px"), ("x_pixel", "y_pixel"),
    ("pxl_col", "pxl_row"), ("x", "y"), ("new_x", "new_y"), ("array_col", "array_row"), ("col", "row"),
    ("cols", "rows"), ("column", "row"),
)  # fmt: skip
_AXES = (("x", "y"), ("column", "row"), ("col", "row"))
_EMBEDDINGS = re.compile(r"umap|tsne|pca|phate|lda|nmf|diffmap|drawgraph|latent|embed|scvi|harmony|ldim")


def coordinate_columns(names: Iterable[Any]) -> tuple[str, str] | None:
    """Return the columns that hold x and y, or None if the names do not determine them.

    Case, underscores, dots and spaces are ignored. Without a well-known pair, two names that differ only in the axis
    are used (``sx_aligned`` and ``sy_aligned``), if there is just one such pair.

    Examples
    --------
    >>> coordinate_columns(["imagerow", "imagecol"])
    ('imagecol', 'imagerow')
    >>> coordinate_columns(["n_counts", "stage.y", "stage.x"])
    ('stage.x', 'stage.y')
    >>> coordinate_columns(["a", "b"]) is None
    True
    """
    known = {_plain(name): str(name) for name in names}
    for x, y in _PAIRS:
        if _plain(x) in known and _plain(y) in known:
            return known[_plain(x)], known[_plain(y)]
    pairs = {(x, y) for x in known if not is_embedding(x) for y in _counterparts(x) if y in known}
    if len(pairs) != 1:
        return None
    x, y = pairs.pop()
    return known[x], known[y]


def depth_column(names: Iterable[Any], x: str) -> str | None:
    """Return the column of z that belongs to the column ``x``, or None.

    Examples
    --------
    >>> depth_column(["sdimy", "sdimz"], "sdimx")
    'sdimz'
    """
    wanted = {_plain(x)[: match.start()] + "z" + _plain(x)[match.end() :] for match in re.finditer("x", _plain(x))}
    return next((str(name) for name in names if _plain(name) in wanted or _plain(name).startswith("z")), None)


def is_embedding(name: str) -> bool:
    """Return whether a column or key is named like an embedding rather than positions in the tissue.

    Examples
    --------
    >>> from histoquilt._base import is_embedding
    >>> is_embedding("X_umap"), is_embedding("spatial")
    (True, False)
    """
    return _EMBEDDINGS.search(_plain(name)) is not None


def _counterparts(x: str) -> Iterator[str]:
    """Yield possible names of the column of y, given that of x."""
    for along, across in _AXES:
        for match in re.finditer(along, x):
            yield x[: match.start()] + across + x[match.end() :]


def _plain(name: Any) -> str:
    return re.sub(r"[\s_.\-]", "", str(name)).casefold()
