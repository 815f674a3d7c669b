"""Names of coordinate columns: which one is x, and which one is y."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

# x runs along the columns of an image, y along its rows; more specific names first
_PAIRS = (
    ("pxl_col_in_fullres", "pxl_row_in_fullres"),
    ("pixel_x", "pixel_y"),
    ("imagecol", "imagerow"),
    ("CenterX_global_px", "CenterY_global_px"),
    ("x_centroid", "y_centroid"),
    ("center_x", "center_y"),
    ("x_global_px", "y_global_px"),
    ("global_x", "global_y"),
    ("sdimx", "sdimy"),
    ("x_location", "y_location"),
    ("spatial_x", "spatial_y"),
    ("x_coord", "y_coord"),
    ("x_um", "y_um"),
    ("x_px", "y_px"),
    ("x_pixel", "y_pixel"),
    ("pxl_col", "pxl_row"),
    ("x", "y"),
    ("new_x", "new_y"),
    ("array_col", "array_row"),
    ("col", "row"),
    ("cols", "rows"),
    ("column", "row"),
)
_AXES = (("x", "y"), ("column", "row"), ("col", "row"))
_EMBEDDINGS = re.compile(r"umap|tsne|pca|phate|lda|nmf|diffmap|drawgraph|latent|embed|scvi|harmony|ldim")


def coordinate_columns(names: Iterable[Any]) -> tuple[str, str] | None:
    """Return the columns that hold x and y, or None where the names do not say.

    Case, underscores, dots and spaces do not matter. Where no well-known pair is among them, two names that differ in
    the axis alone are taken (``sx_aligned`` and ``sy_aligned``), if there is only one such pair.

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
    pairs = {(x, y) for x in known if not is_embedding(x) for y in _along_the_other_axis(x) if y in known}
    if len(pairs) != 1:
        return None
    x, y = pairs.pop()
    return known[x], known[y]


def depth_column(names: Iterable[Any], x: str) -> str | None:
    """Return the column that holds z beside the column ``x``, or None.

    Examples
    --------
    >>> depth_column(["sdimy", "sdimz"], "sdimx")
    'sdimz'
    """
    wanted = {_plain(x)[: found.start()] + "z" + _plain(x)[found.end() :] for found in re.finditer("x", _plain(x))}
    return next((str(name) for name in names if _plain(name) in wanted or _plain(name).startswith("z")), None)


def is_embedding(name: str) -> bool:
    """Whether a column or key is called like places on a map of expression, and not in the tissue."""
    return _EMBEDDINGS.search(_plain(name)) is not None


def _along_the_other_axis(x: str) -> Iterator[str]:
    """Yield what the column of y would be called where ``x`` were that of x."""
    for along, across in _AXES:
        for found in re.finditer(along, x):
            yield x[: found.start()] + across + x[found.end() :]


def _plain(name: Any) -> str:
    return re.sub(r"[\s_.\-]", "", str(name)).casefold()
