"""Tables in the types that every version of anndata can write; what none can write is told before the work."""

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

from histoquilt.io.sections._column_names import column_problem
from histoquilt.study import named_layers

# values of one type in a column of Python objects -> the type of column that is written
_NATIVE = {"boolean": "boolean", "integer": "Int64", "floating": "float64", "mixed-integer-float": "float64"}
_WRITABLE = {"string", "empty"}
_HEAD = 2  # rows that are written on trial: types are those of the column


def make_plain(adata: AnnData) -> None:
    """Turn text in pandas' nullable type, which not every anndata writes, into plain text or categories, in place."""
    for part in ("obs", "var"):
        frame = getattr(adata, part)
        if (plain := _plain_frame(frame, nullable_only=True)) is not frame:
            setattr(adata, part, plain)
    for mapping in (adata.obsm, adata.varm):
        for key, value in list(mapping.items()):
            if (plain := _plain_value(value, nullable_only=True)) is not value:
                mapping[key] = plain
    if adata.raw is not None and (plain := _plain_frame(adata.raw.var, nullable_only=True)) is not adata.raw.var:
        for name, column in plain.items():
            adata.raw.var[name] = column.array
        adata.raw.var.index = plain.index
    if (uns := _plain_value(adata.uns, nullable_only=True)) is not adata.uns:
        adata.uns = uns


def writable(adata: AnnData) -> AnnData:
    """Return the section itself, or one that shares its matrices and has tables that can be written.

    Of a backed section it has no ``X``.
    """
    if adata.isbacked and adata.is_view:
        raise ValueError(
            "A part of a backed section cannot be written: its X would be copied as a whole. Read the part into memory "
            "first (.to_memory())."
        )
    obs, var, uns = _plain_frame(adata.obs), _plain_frame(adata.var), _plain_value(adata.uns)
    obsm, varm = ({key: _plain_value(value) for key, value in part.items()} for part in (adata.obsm, adata.varm))
    raw_var = None if adata.raw is None else _plain_frame(adata.raw.var)
    same = obs is adata.obs and var is adata.var and uns is adata.uns
    same = same and all(obsm[key] is value for key, value in adata.obsm.items())
    same = same and all(varm[key] is value for key, value in adata.varm.items())
    same = same and (raw_var is None or raw_var is adata.raw.var)
    if same and not adata.isbacked:
        return adata
    for part, frame in ((obsm, obs), (varm, var)):
        for key, value in part.items():
            if isinstance(value, pd.DataFrame):
                part[key] = value.set_axis(frame.index, axis=0)
    raw = None
    if raw_var is not None and not adata.isbacked:
        raw = {"X": adata.raw.X, "var": raw_var, "varm": dict(adata.raw.varm)}
    shared = AnnData(
        X=None if adata.isbacked else adata.X, layers=named_layers(adata), obsm=obsm, varm=varm,
        obsp=dict(adata.obsp), varp=dict(adata.varp), uns=uns, raw=raw,
        obs=obs.copy(deep=False), var=var.copy(deep=False),
    )  # fmt: skip
    shared.obs, shared.var = obs, var  # as they are: the constructor guesses types anew
    return shared


def check_writable(adata: AnnData) -> None:
    """Raise ``ValueError`` for names and values that an ``.h5ad`` cannot hold; all of them are named.

    Matrices are not looked at, and of tables no more than is needed to know the types.
    """
    problems: list[str] = []
    for part in ("obs", "var"):
        problems += _frame_problems(getattr(adata, part), part)
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


def _plain_frame(frame: pd.DataFrame, *, nullable_only: bool = False) -> pd.DataFrame:
    """Return the table itself, or a copy with columns and names that can be written."""
    if not frame.columns.is_unique:
        return frame  # cannot be written, which is for the check to say
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
        codes = column.cat.codes.to_numpy()
        values: Any = pd.Categorical.from_codes(codes, dtype=pd.CategoricalDtype(names, ordered=dtype.ordered))
        return pd.Series(values, index=column.index)
    is_text = isinstance(dtype, pd.StringDtype)
    if not is_text and (nullable_only or not pd.api.types.is_object_dtype(dtype)):
        return column
    kind = "string" if is_text else pd.api.types.infer_dtype(column, skipna=True)
    if kind in _NATIVE:
        return column.astype(pd.api.types.pandas_dtype(_NATIVE[kind]))
    gaps = column.isna().to_numpy()
    if kind not in _WRITABLE or not (is_text or gaps.any()):
        return column
    values = column.to_numpy(dtype=object)
    if gaps.any():  # which h5ad only knows as categories
        names = pd.Index(sorted(set(values[~gaps])), dtype=object)
        values = pd.Categorical.from_codes(names.get_indexer(values), dtype=pd.CategoricalDtype(names))
        return pd.Series(values, index=column.index)
    return pd.Series(values, index=column.index, dtype=object)


def _plain_value(value: Any, *, nullable_only: bool = False) -> Any:
    """Do the same to whatever is stored beside the tables: a dict, an array, a table."""
    if isinstance(value, pd.DataFrame):
        return _plain_frame(value, nullable_only=nullable_only)
    if isinstance(value, Mapping):
        plain = {key: _plain_value(inner, nullable_only=nullable_only) for key, inner in value.items()}
        return plain if any(plain[key] is not inner for key, inner in value.items()) else value
    if isinstance(value, pd.api.extensions.ExtensionArray):
        column = pd.Series(value)
        plain_column = _plain_column(column, nullable_only)
        if plain_column is column:
            return value
        return plain_column.to_numpy() if pd.api.types.is_object_dtype(plain_column.dtype) else plain_column.array
    return value


def _frame_problems(frame: pd.DataFrame, where: str) -> Iterator[str]:
    if not frame.columns.is_unique:
        repeated = frame.columns[frame.columns.duplicated()].unique()
        yield f"{where} has the column {repeated[0]!r} more than once"
        return
    plain = _plain_frame(frame)
    bad = {}
    for name, column in plain.items():
        if (problem := _name_problem(name)) is not None:
            bad[name] = problem
            continue
        kind = pd.api.types.infer_dtype(column, skipna=True) if pd.api.types.is_object_dtype(column.dtype) else "string"
        if kind not in _WRITABLE:
            first = next(iter(column.dropna()))
            bad[name] = f"holds {kind} values (first: {str(first)[:40]!r} of type {type(first).__name__})"
    head = plain.iloc[:_HEAD].drop(columns=list(bad))
    if _error(head) is not None:
        for name in head:
            error = _error(head[[name]])
            if error is not None:
                bad[name] = f"cannot: its name {why}" if (why := column_problem(name)) else f"cannot: {error}"
        if not bad:
            yield f"{where} cannot: {_error(head)}"
    yield from (f"{where}[{name!r}] {problem}" for name, problem in bad.items())


def _key_problems(mapping: Mapping[Any, Any], where: str) -> Iterator[str]:
    """Try the names alone."""
    odd = {key: problem for key in mapping if (problem := _name_problem(key)) is not None}
    rest = [key for key in mapping if key not in odd]
    if _error(dict.fromkeys(rest, 0)) is not None:
        for key in rest:
            if (error := _error({key: 0})) is not None:
                odd[key] = "cannot: " + (f"its name {why}" if (why := column_problem(key)) else error)
    yield from (f"{where}[{key!r}] {problem}" for key, problem in odd.items())


def _name_problem(name: Any) -> str | None:
    """Say what no trial tells: HDF5 takes some names for a way to another place. A slash is up to anndata."""
    problem = column_problem(name)
    return None if problem is None or (isinstance(name, str) and "/" in name) else f"cannot: its name {problem}"


def _uns_problems(value: Any, where: str) -> Iterator[str]:
    if isinstance(value, pd.DataFrame):
        yield from _frame_problems(value, where)
    elif isinstance(value, Mapping):
        yield from _key_problems(value, where)
        for key, inner in value.items():
            yield from _uns_problems(inner, f"{where}[{key!r}]")
    elif issparse(value) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf"):
        return  # images and the like: can be written, and are large
    elif (error := _error(_plain_value(value))) is not None:
        yield f"{where} of type {type(value).__name__} cannot: {error}"


def _error(value: Any) -> str | None:
    """Write on trial, to memory; return the first line of what went wrong."""
    with warnings.catch_warnings(), h5py.File(io.BytesIO(), "w") as file:
        warnings.simplefilter("ignore")
        try:
            anndata.io.write_elem(file, "trial", value)
        except Exception as error:  # anndata and h5py raise many types
            return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(". ")
    return None
