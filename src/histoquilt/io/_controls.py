"""Controls: probes, codewords and spike-ins that stand among the genes and are not genes."""

import re

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique
from scipy.sparse import issparse

from histoquilt._base import Keys, listed
from histoquilt.runtime import logger
from histoquilt.study import quiet_duplicates, write_result

# What the platforms call them. Matched whole and in any case: NEGR1, BLNK, ERCC1 and the fly's blanks are genes.
# R turns "_" into "-" or ".", so every separator is taken.
_SEPARATOR = r"[-_. ]?"
_NUMBERED = rf"({_SEPARATOR}\d+)?"
_NAMED = r"([-_. ].+|\d+)?"
_PATTERNS = (
    rf"neg{_SEPARATOR}prb{_NUMBERED}",  # CosMx: NegPrb1
    rf"negative{_NUMBERED}",  # CosMx: Negative01
    rf"system{_SEPARATOR}control{_NUMBERED}",  # CosMx: SystemControl1
    rf"false{_SEPARATOR}code{_NUMBERED}",  # CosMx: FalseCode1
    rf"neg(ative)?{_SEPARATOR}(probe|control|ctrl){_SEPARATOR}(probe|codeword)?{_NAMED}",  # Xenium, GeoMx: NegProbe-WTX
    rf"(unassigned|deprecated){_SEPARATOR}codeword{_NAMED}",  # Xenium
    rf"blank{_SEPARATOR}(codeword{_SEPARATOR})?\d+",  # MERSCOPE: Blank-1; Xenium: BLANK_0001
    r"blank",
    r"antisense[-_.].+",  # Xenium: antisense_PROKR2
    rf"intergenic{_SEPARATOR}region{_NAMED}",  # Xenium Prime
    rf"ercc{_SEPARATOR}\d{{5}}",  # spike-ins: ERCC-00002
)
_AGAIN = r"(?:[-.]\d+)?"  # what is added to a repeated name
_CONTROL = re.compile(f"(?:{'|'.join(_PATTERNS)}){_AGAIN}", re.IGNORECASE)

# what 10x writes in the column feature_types
_KINDS = {
    "negative control probe",
    "negative control codeword",
    "unassigned codeword",
    "deprecated codeword",
    "blank codeword",
    "genomic control",
}
_SYMBOL_COLUMNS = (Keys.GENE_SYMBOL, "gene_symbols", "gene_name", "gene_names", "feature_name", "symbol", "SYMBOL")
_KIND_COLUMNS = ("feature_types", "feature_type")


def set_controls_aside(adata: AnnData) -> AnnData:
    """Return a section whose genes are genes, with the counts of controls in ``obsm["controls"]``.

    Controls are recognised by their names in ``var`` or, in files of 10x, by their ``feature_types``. A section without
    any, or with nothing else, is returned as it is. Of a backed section with controls the genes are read into memory.
    """
    is_control = find_controls(adata.var)
    if not is_control.any() or is_control.all():
        return adata
    names = make_index_unique(pd.Index(adata.var_names[is_control].astype(str), dtype=object))
    with quiet_duplicates():
        table = _as_table(_counts(adata, is_control), adata.obs_names, names)
        genes = adata[:, ~is_control]
        adata = genes.to_memory() if genes.isbacked else genes.copy()
    write_result(adata, "obsm", Keys.CONTROLS, table)
    said = "control is no gene and is" if len(names) == 1 else "controls are not genes and are"
    logger.info("%d %s kept in obsm[%r]: %s", len(names), said, Keys.CONTROLS, listed(names, 4))
    return adata


def find_controls(var: pd.DataFrame) -> np.ndarray:
    """Return which rows of ``var`` are controls, ``(n_genes,)`` bool."""
    found = _are_controls(var.index)
    for column in _SYMBOL_COLUMNS:
        if column in var:
            found |= _are_controls(var[column])
    for column in _KIND_COLUMNS:
        if column in var:
            found |= var[column].astype(str).str.strip().str.lower().isin(_KINDS).to_numpy(dtype=bool)
    return found


def _are_controls(names: pd.Index | pd.Series) -> np.ndarray:
    return np.array([_CONTROL.fullmatch(str(name).strip()) is not None for name in names], dtype=bool)


def _counts(adata: AnnData, columns: np.ndarray) -> np.ndarray:
    """Return the values of some columns, of raw counts where the section says which they are."""
    matrix = adata.layers.get(Keys.COUNTS)
    if matrix is None:
        view = adata[:, columns]
        matrix = view.to_memory().X if adata.isbacked else view.X
    else:
        matrix = matrix[:, columns]
    if matrix is None:
        return np.zeros((adata.n_obs, int(columns.sum())))
    return matrix.toarray() if issparse(matrix) else np.asarray(matrix)


def _as_table(values: np.ndarray, spots: pd.Index, names: pd.Index) -> pd.DataFrame:
    """Return a table in the smallest type that holds the values: a million cells have hundreds of controls."""
    if values.size and np.isfinite(values).all() and values.min() >= 0 and not np.any(np.mod(values, 1)):
        values = values.astype(np.min_scalar_type(int(values.max())))
    return pd.DataFrame(values, index=spots, columns=names)
