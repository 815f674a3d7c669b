"""Join ``obs`` of several sections into a table that an ``.h5ad`` can hold."""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype, is_object_dtype


def concat_obs(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Stack ``obs`` of sections, with all columns in order of first appearance and numbered rows.

    Unlike with ``pandas.concat``, no column holds values of several types, which cannot be written: if a section lacks
    a column, numbers become float with ``NaN``, truth values ``boolean``, text a categorical; numbers in one section
    and text in another become text.
    """
    columns = dict.fromkeys(column for frame in frames for column in frame.columns)
    lengths = [len(frame) for frame in frames]
    joined = {
        column: _join([frame[column] if column in frame else None for frame in frames], lengths) for column in columns
    }
    return pd.DataFrame(joined, index=pd.RangeIndex(sum(lengths)))


def _join(pieces: list[pd.Series | None], lengths: list[int]) -> pd.api.extensions.ExtensionArray | np.ndarray:
    """Join one column; ``None`` is a section without it."""
    present = [piece for piece in pieces if piece is not None]
    complete = len(present) == len(pieces)
    dtype = present[0].dtype
    alike = all(piece.dtype == dtype for piece in present)
    if alike and complete and not is_object_dtype(dtype):
        return pd.concat(present, ignore_index=True).array
    if all(is_bool_dtype(piece) for piece in present):
        filled = [[pd.NA] * n if piece is None else list(piece) for piece, n in zip(pieces, lengths, strict=True)]
        return pd.array(list(chain.from_iterable(filled)), dtype="boolean")
    if all(is_numeric_dtype(piece) and not is_bool_dtype(piece) for piece in present):
        return np.concatenate(
            [
                piece.to_numpy(dtype=np.float64, na_value=np.nan) if piece is not None else np.full(n, np.nan)
                for piece, n in zip(pieces, lengths, strict=True)
            ]
        )
    text = [
        piece.astype(object).where(piece.notna(), None).map(str, na_action="ignore").to_numpy(dtype=object)
        if piece is not None
        else np.full(n, None, dtype=object)
        for piece, n in zip(pieces, lengths, strict=True)
    ]
    values = np.concatenate(text)
    gaps = bool(pd.isna(values).any())
    if not gaps and not any(isinstance(piece.dtype, pd.CategoricalDtype) for piece in present):
        return values
    if alike and isinstance(dtype, pd.CategoricalDtype) and all(isinstance(name, str) for name in dtype.categories):
        return pd.Categorical(values, dtype=dtype)
    return pd.Categorical(values, categories=_categories(present))


def _categories(pieces: list[pd.Series]) -> list[str]:
    """Return all names, in the order of the sections' own categories."""
    names: dict[str, None] = {}
    for piece in pieces:
        is_categorical = isinstance(piece.dtype, pd.CategoricalDtype)
        known = piece.cat.categories if is_categorical else piece.dropna().unique()
        names |= dict.fromkeys(str(name) for name in known)
    return list(names)
