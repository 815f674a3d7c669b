"""Names that a column of an ``.h5ad`` cannot have."""

_RESERVED = {".", "..", "_index", "__categories"}  # paths of HDF5, and names that anndata reserves


def column_problem(name: object) -> str | None:
    """Return why a column of that name cannot be written to an ``.h5ad``; None if it can.

    Examples
    --------
    >>> column_problem("Ki67+/CD3")
    'holds a slash'
    >>> column_problem("_note") is None
    True
    """
    if not isinstance(name, str):
        return f"is not text but {type(name).__name__}"
    if not name:
        return "is empty"
    if "/" in name:
        return "holds a slash"
    if "\0" in name:
        return "holds a NUL character"
    if name in _RESERVED:
        return "is reserved by the file format"
    return None
