"""Conversion of a section to types that every version of anndata writes, and errors about what none can write."""

import io
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import anndata
import h5py
import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import issparse

from histoquilt.io._files import first_line
from histoquilt.io.sections._column_names import column_problem
from histoquilt.study import named_layers, quiet_duplicates

HDF5_VERSION = "v108"  # of 2008; in files for older ones a table has at most 4,095 columns
# values of one type in a column of Python objects -> the type of column that is written
_NATIVE = {"boolean": "boolean", "integer": "Int64", "floating": "float64", "mixed-integer-float": "float64"}
_WRITABLE = {"string", "empty"}
_HEAD = 2  # rows that are written on trial: types are those of the column


def make_plain(adata: AnnData) -> None:
    """Convert text of pandas' nullable type, which not every anndata writes, to plain text or categories, in place."""
    for part in ("obs", "var", "uns"):
        value = getattr(adata, part)
        if (plain := _plain(value, nullable_only=True)) is not value:
            setattr(adata, part, plain)
    for mapping in (adata.obsm, adata.varm):
        for key, value in list(mapping.items()):
            if (plain := _plain(value, nullable_only=True)) is not value:
                mapping[key] = plain
    if adata.raw is not None and (plain := _plain(adata.raw.var, nullable_only=True)) is not adata.raw.var:
        for name, column in plain.items():
            adata.raw.var[name] = column.array
        adata.raw.var.index = plain.index


def writable(adata: AnnData) -> AnnData:
    """Return a section with the same matrices (without ``X`` if it is backed) and tables that can be written."""
    if adata.isbacked and adata.is_view:
        raise ValueError(
            "A part of a backed section cannot be written: its X would be copied as a whole. Read the part into memory "
            "first (.to_memory())."
        )
    obs, var = _plain(adata.obs), _plain(adata.var)
    obsm, varm = (
        {
            key: plain.set_axis(index) if isinstance(plain := _plain(value), pd.DataFrame) else plain
            for key, value in part
        }
        for part, index in ((adata.obsm.items(), obs.index), (adata.varm.items(), var.index))
    )
    raw = None
    if adata.raw is not None and not adata.isbacked:
        raw = {"X": adata.raw.X, "var": _plain(adata.raw.var), "varm": dict(adata.raw.varm)}
    with quiet_duplicates():
        shared = AnnData(
            X=None if adata.isbacked else adata.X, layers=named_layers(adata), obsm=obsm, varm=varm,
            obsp=dict(adata.obsp), varp=dict(adata.varp), uns=_plain(adata.uns), raw=raw,
            obs=obs.copy(deep=False), var=var.copy(deep=False),
        )  # fmt: skip
        shared.obs, shared.var = obs, var  # again, as the constructor infers types
    return shared


def check_writable(adata: AnnData) -> None:
    """Raise ``ValueError`` that lists the names and values that an ``.h5ad`` cannot hold.

    Matrices are not checked, and of tables no more than is needed to determine the types.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=40, n_domains=2, seed=0)
    >>> hq.io.check_writable(adata)
    >>> adata.uns["function"] = print
    >>> hq.io.check_writable(adata)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
        ...
    ValueError: Results could not be written to an .h5ad file: uns['function'] of type ...
    """
    problems = [*_frame_problems(adata.obs, "obs"), *_frame_problems(adata.var, "var")]
    for part in ("obsm", "varm", "obsp", "varp", "layers"):
        mapping = named_layers(adata) if part == "layers" else getattr(adata, part)
        problems += _key_problems(mapping, part)
        for key, value in mapping.items():
            if isinstance(value, pd.DataFrame):
                problems += _frame_problems(value, f"{part}[{key!r}]")
    if adata.raw is not None:
        problems += _frame_problems(adata.raw.var, "raw.var")
    problems += _uns_problems(adata.uns, "uns")
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ValueError(
            f"Results could not be written to an .h5ad file: {'; '.join(problems[:4])}{more}. Rename it, turn the "
            "values into text (.astype(str)) or numbers, or delete it."
        )


def _plain(value: Any, *, nullable_only: bool = False) -> Any:
    """Return a table, array or dict that can be written: the value itself if it can, else a copy."""
    if isinstance(value, pd.DataFrame):
        return _plain_frame(value, nullable_only)
    if isinstance(value, Mapping):
        plain = {key: _plain(inner, nullable_only=nullable_only) for key, inner in value.items()}
        return plain if any(plain[key] is not inner for key, inner in value.items()) else value
    if isinstance(value, pd.api.extensions.ExtensionArray):
        column = pd.Series(value)
        if (changed := _plain_column(column, nullable_only)) is not column:
            return changed.to_numpy() if pd.api.types.is_object_dtype(changed.dtype) else changed.array
    return value


def _plain_frame(frame: pd.DataFrame, nullable_only: bool) -> pd.DataFrame:
    if not frame.columns.is_unique:
        return frame  # the check raises
    changed = {
        name: plain for name, column in frame.items() if (plain := _plain_column(column, nullable_only)) is not column
    }
    index = frame.index
    if isinstance(index.dtype, pd.StringDtype):
        index = pd.Index(index.to_numpy(dtype=object), dtype=object, name=index.name)
    if not changed and index is frame.index:
        return frame
    frame = frame.copy(deep=False)
    frame.index = index
    for name, column in changed.items():
        frame[name] = column.set_axis(index)
    return frame


def _plain_column(column: pd.Series, nullable_only: bool) -> pd.Series:
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        if not isinstance(dtype.categories.dtype, pd.StringDtype):
            return column
        names = pd.Index(dtype.categories.to_numpy(dtype=object), dtype=object)
        return column.cat.set_categories(names, rename=True)
    is_text = isinstance(dtype, pd.StringDtype)
    if not is_text and (nullable_only or not pd.api.types.is_object_dtype(dtype)):
        return column
    kind = "string" if is_text else pd.api.types.infer_dtype(column, skipna=True)
    if kind in _NATIVE:
        return column.astype(pd.api.types.pandas_dtype(_NATIVE[kind]))
    gaps = column.isna().to_numpy()
    if kind not in _WRITABLE or not (is_text or gaps.any()):
        return column
    values: Any = column.to_numpy(dtype=object)
    if gaps.any():  # which h5ad only has in categories
        values = pd.Categorical(values, categories=pd.Index(sorted(set(values[~gaps])), dtype=object))
    return pd.Series(values, index=column.index, dtype=None if gaps.any() else object)


def _frame_problems(frame: pd.DataFrame, where: str) -> Iterator[str]:
    if not frame.columns.is_unique:
        repeated = frame.columns[frame.columns.duplicated()].unique()
        yield f"{where} has the column {repeated[0]!r} more than once"
        return
    plain = _plain(frame)
    problems = {}
    for name, column in plain.items():
        kind = pd.api.types.infer_dtype(column, skipna=True) if pd.api.types.is_object_dtype(column.dtype) else "string"
        if problem := _name_problem(name):
            problems[name] = problem
        elif kind not in _WRITABLE:
            first = next(iter(column.dropna()))
            problems[name] = f"holds {kind} values (first: {str(first)[:40]!r} of type {type(first).__name__})"
    head = plain.iloc[:_HEAD].drop(columns=list(problems))
    if not _is_ordinary(head) and (error := _error(head)):
        by_name = {name: f"cannot: {error}" for name in head if (error := _error(head[[name]]))}
        if not by_name and not problems:
            yield f"{where} cannot: {error}"
        problems |= by_name
    yield from (f"{where}[{name!r}] {problem}" for name, problem in problems.items())


def _key_problems(mapping: Mapping[Any, Any], where: str) -> Iterator[str]:
    yield from (f"{where}[{key!r}] {problem}" for key in mapping if (problem := _name_problem(key)))


def _name_problem(name: Any) -> str | None:
    """Return why a name cannot be written; a slash depends on the version of anndata, so it is tried."""
    problem = column_problem(name)
    if problem is None or (isinstance(name, str) and "/" in name and _error({name: 0}) is None):
        return None
    return f"cannot: its name {problem}"


def _uns_problems(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, pd.DataFrame):
        yield from _frame_problems(value, where)
    elif isinstance(value, Mapping):
        yield from _key_problems(value, where)
        for key, inner in value.items():
            yield from _uns_problems(inner, f"{where}[{key!r}]")
    elif issparse(value) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf"):
        return  # images and the like: can be written, and are large
    elif _is_simple(value):
        return
    elif error := _error(_plain(value)):
        yield f"{where} of type {type(value).__name__} cannot: {error}"


def _is_simple(value: Any) -> bool:
    """Return whether a value is text or a number that every version writes, so that no trial is needed."""
    if isinstance(value, str):
        return "\0" not in value and value.isprintable()
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return isinstance(value, float | np.bool_ | np.integer | np.floating)


def _is_ordinary(frame: pd.DataFrame) -> bool:
    """Return whether a table holds only names, text and numbers that every version writes."""
    index = frame.index
    if index.name is not None or not (isinstance(index, pd.RangeIndex) or _is_text(index)):
        return False
    return all(
        _is_simple(name) and (_is_text(values) or (isinstance(values.dtype, np.dtype) and values.dtype.kind in "biuf"))
        for name, column in frame.items()
        for values in [column.cat.categories if isinstance(column.dtype, pd.CategoricalDtype) else column]
    )


def _is_text(values: pd.Index | pd.Series) -> bool:
    return values.dtype == object and len(values) > 0 and all(isinstance(v, str) and _is_simple(v) for v in values)


def _error(value: Any) -> str | None:
    """Write a value to memory on trial; return the first line of the error, if any."""
    with warnings.catch_warnings(), h5py.File(io.BytesIO(), "w", libver=HDF5_VERSION) as file:
        warnings.simplefilter("ignore")
        try:
            anndata.io.write_elem(file, "trial", value)
        except Exception as error:  # anndata and h5py raise many types
            return first_line(error)
    return None
