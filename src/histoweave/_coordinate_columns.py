"""Names of coordinate columns: which one is x, and which one is y."""

import re
from collections.abc import Iterable
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


def coordinate_columns(names: Iterable[Any]) -> tuple[str, str] | None:
    """Return the columns that hold x and y, or None where no known pair of names is among them.

    Case, underscores, dots and spaces do not matter.

    Examples
    --------
    >>> coordinate_columns(["imagerow", "imagecol"])
    ('imagecol', 'imagerow')
    >>> coordinate_columns(["a", "b"]) is None
    True
    """
    known = {_plain(name): str(name) for name in names}
    for x, y in _PAIRS:
        if _plain(x) in known and _plain(y) in known:
            return known[_plain(x)], known[_plain(y)]
    return None


def _plain(name: Any) -> str:
    return re.sub(r"[\s_.\-]", "", str(name)).casefold()
