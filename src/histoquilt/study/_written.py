"""Write results: earlier ones of histoquilt are replaced, the user's own data are kept under another name."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import issparse

from histoquilt._base import DOMAIN_MODELS, Keys
from histoquilt.runtime import warn_user
from histoquilt.study._scale import provenance

Slot = Literal["obs", "var", "obsm", "obsp", "layers", "uns"]

# records in uns["histoquilt"] that do not describe a result of the same name
_NO_RESULTS = {
    Keys.SCALE, Keys.COORDINATES, Keys.IMAGE, Keys.SECTIONS, Keys.WRITTEN, "genes", *DOMAIN_MODELS.ours(),
    "integration", "alignment", "prediction",
}  # fmt: skip

# files of versions that did not record results: record of a run -> what the run wrote
_WRITTEN_BY: Mapping[str, tuple[tuple[Slot, str], ...]] = {
    "spamask": (("obsm", "X_spamask"), ("obsm", Keys.DENOISED), ("uns", Keys.MARKERS)),
    "integration": (("obsm", Keys.JOINT),),
    "mixing": (("obsm", Keys.BEFORE), ("obsm", Keys.HARMONY)),
    "alignment": (("obsm", Keys.ALIGNED),),
    Keys.SECTIONS: (("obs", Keys.OBS_NAME),),
    "prediction": (
        ("obs", Keys.OUT_OF_DISTRIBUTION),
        ("obs", f"{Keys.OUT_OF_DISTRIBUTION}_score"),
        ("obsm", Keys.IN_MICRONS),
        ("obsm", Keys.IN_PIXELS),
    ),
}


def write_result(adata: AnnData, slot: Slot, key: str, value: Any) -> None:
    """Write a result to ``adata.<slot>[key]`` and record it in ``uns["histoquilt"]["written"][slot]``.

    Different data of the user under this key are kept under another name, with a warning (:func:`keep_foreign`).

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt.study import write_result
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> write_result(adata, "obsm", "X_a", np.zeros((60, 2)))
    >>> {slot: list(keys) for slot, keys in adata.uns["histoquilt"]["written"].items()}
    {'obsm': ['X_a']}
    """
    held = key in getattr(adata, slot) and not is_ours(adata, slot, key)
    kept = keep_foreign(adata, slot, key, value)
    getattr(adata, slot)[key] = value
    if kept is not None or not held:  # equal values are still the user's
        declare_ours(adata, slot, key)


def keep_foreign(adata: AnnData, slot: Slot, key: str, value: Any = None, *, warn: bool = True) -> str | None:
    """Keep the user's data under a key that is about to be replaced or removed; return their new name, or ``None``.

    The name is ``<key>_before``, or ``<key>_before_2`` and so on if taken by different data; the declared scale and
    scanpy's colours are renamed too. Nothing happens if the key is free, was written by histoquilt, or already holds
    ``value``. With ``warn``, a ``UserWarning`` names what was kept.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt.study import keep_foreign
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> adata.obsm["X_a"] = np.zeros((60, 2))
    >>> keep_foreign(adata, "obsm", "X_a", warn=False), "X_a" in adata.obsm
    ('X_a_before', False)
    """
    known = _settled(adata)
    held = getattr(adata, slot)
    if key not in held or key in known.get(slot, {}):
        return None
    old = held[key]
    if value is not None and _same(old, value):
        return None
    new, number = f"{key}_before", 1
    while new in held and not _same(held[new], old):
        number += 1
        new = f"{key}_before_{number}"
    if new not in held:
        held[new] = old
    if slot not in ("obs", "var"):  # columns are replaced in their place
        del getattr(adata, slot)[key]
    if slot == "obs" and f"{key}_colors" in adata.uns:
        adata.uns[f"{new}_colors"] = adata.uns.pop(f"{key}_colors")
    scales = provenance(adata).get(Keys.SCALE, {})
    if slot in ("obsm", "layers") and key in scales:
        scales[new] = scales.pop(key)
    if warn:
        warn_user(
            f"{slot}[{key!r}] was not written by histoquilt. It is kept as {slot}[{new!r}], since the result takes its "
            "name."
        )
    return new


def keep_bare_graph(adata: AnnData, key: str = "spatial") -> None:
    """Keep a graph that ``uns`` does not describe; a described one is replaced, as squidpy does.

    Examples
    --------
    >>> import warnings, histoquilt as hq
    >>> from scipy.sparse import identity
    >>> from histoquilt.study import keep_bare_graph
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> adata.obsp["spatial_connectivities"] = identity(60, format="csr")
    >>> with warnings.catch_warnings(action="ignore"):
    ...     keep_bare_graph(adata)
    >>> list(adata.obsp)
    ['spatial_connectivities_before']
    """
    if f"{key}_neighbors" not in adata.uns:
        for name in (f"{key}_connectivities", f"{key}_distances"):
            keep_foreign(adata, "obsp", name)


def is_ours(adata: AnnData, slot: Slot, key: str) -> bool:
    """Return whether histoquilt wrote the value under a key, by its records in ``uns["histoquilt"]``.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt.study import is_ours, write_result
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> write_result(adata, "obsm", "X_a", np.zeros((60, 2)))
    >>> adata.obsm["X_b"] = np.zeros((60, 2))
    >>> is_ours(adata, "obsm", "X_a"), is_ours(adata, "obsm", "X_b")
    (True, False)
    """
    return key in _known(adata).get(slot, {})


def annotation_key(adata: AnnData, label_key: str | None = None) -> str | None:
    """Return the column of ``obs`` with the annotation: ``label_key``, by default what ``annotate_spots`` wrote.

    None if the section has no such column.

    Examples
    --------
    >>> import histoquilt as hq
    >>> from histoquilt.study import annotation_key
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> annotation_key(adata, "domain_true"), annotation_key(adata)
    ('domain_true', None)
    """
    if label_key is not None:
        return label_key if label_key in adata.obs else None
    return Keys.ANNOTATION if is_ours(adata, "obs", Keys.ANNOTATION) and Keys.ANNOTATION in adata.obs else None


def declare_ours(adata: AnnData, slot: Slot, key: str) -> None:
    """Record that histoquilt wrote the value under a key."""
    _settled(adata).setdefault(slot, {})[key] = True


def declare_foreign(adata: AnnData, slot: Slot, key: str) -> None:
    """Record that the value under a key is the user's.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> from histoquilt.study import declare_foreign, is_ours, write_result
    >>> adata = hq.datasets.toy_section(n_spots=60, n_genes=20, n_domains=2, seed=0)
    >>> write_result(adata, "obsm", "X_a", np.zeros((60, 2)))
    >>> declare_foreign(adata, "obsm", "X_a")
    >>> is_ours(adata, "obsm", "X_a")
    False
    """
    _settled(adata).get(slot, {}).pop(key, None)


def _settled(adata: AnnData) -> dict[str, Any]:
    """Return the record of results, created from those of earlier versions if missing."""
    ours = provenance(adata)
    if Keys.WRITTEN not in ours:
        ours[Keys.WRITTEN] = _known(adata)
    return ours[Keys.WRITTEN]


def _known(adata: AnnData) -> dict[str, Any]:
    ours = adata.uns.get(Keys.UNS, {})
    if Keys.WRITTEN in ours:
        return ours[Keys.WRITTEN]
    found: list[tuple[Slot, str]] = []
    for name, record in ours.items():
        found += _WRITTEN_BY.get(name, ())
        if isinstance(record, Mapping) and name not in _NO_RESULTS:
            found += [("obs", name), ("obs", f"{name}_confidence"), ("obsm", name)]
            if {"n_networks", "model_digest"} & set(record):  # by SpaMask, which wrote the embedding, too
                found.append(("obsm", str(record.get("use_rep"))))
    known: dict[str, Any] = {}
    for slot, key in found:
        if key in getattr(adata, slot):
            known.setdefault(slot, {})[key] = True
    return known


def _same(one: Any, other: Any) -> bool:
    """Return whether two results hold the same values, whatever their types."""
    if isinstance(one, pd.DataFrame) or isinstance(other, pd.DataFrame):
        return isinstance(one, pd.DataFrame) and isinstance(other, pd.DataFrame) and one.equals(other)
    if issparse(one) or issparse(other):
        return bool(issparse(one) and issparse(other) and one.shape == other.shape and (one != other).nnz == 0)
    if isinstance(one, Mapping) or isinstance(other, Mapping):
        return one is other
    values = [np.asarray(value) for value in (one, other)]
    if values[0].shape != values[1].shape:
        return False
    if all(value.dtype.kind in "biuf" for value in values):
        floats = all(value.dtype.kind == "f" for value in values)
        return bool(np.array_equal(values[0], values[1], equal_nan=floats))
    flat = [pd.Series(value.ravel().astype(object)) for value in values]
    return bool(flat[0].equals(flat[1]))
