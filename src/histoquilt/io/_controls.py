"""Control features (probes, codewords and spike-ins), kept apart from the genes."""

import re

import numpy as np
import pandas as pd
from anndata import AnnData
from anndata.utils import make_index_unique
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, listed
from histoquilt.runtime import in_words, logger, warn_user
from histoquilt.study import SYMBOL_COLUMNS, annotate_genes, check_adata, declare_scale, quiet_duplicates, write_result

# Names on each platform, matched whole and in any case: NEGR1, BLNK, ERCC1 and the fly's blanks are genes.
# R turns "_" into "-" or ".", so any separator matches.
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
_COPY = r"(?:[-.]\d+)?"  # added to a repeated name
_CONTROL = re.compile(f"(?:{'|'.join(_PATTERNS)}){_COPY}", re.IGNORECASE)

# values of feature_types in files of 10x
_KINDS = {
    "negative control probe",
    "negative control codeword",
    "unassigned codeword",
    "deprecated codeword",
    "blank codeword",
    "genomic control",
}
_KIND_COLUMNS = ("feature_types", "feature_type")
_MOST_BYTES = 2**30  # of their table: large panels of Xenium have thousands of codewords


def finish_genes(adata: AnnData, *, gene_id: str | None = None, is_counts: bool = False) -> AnnData:
    """Check a section as read, move controls to ``obsm``, annotate the genes, and declare ``X`` if it is raw counts."""
    check_adata(adata)
    adata = set_controls_aside(adata)
    annotate_genes(adata, gene_id=gene_id)
    if is_counts:
        declare_scale(adata, "X", "counts")
    return adata


def set_controls_aside(adata: AnnData) -> AnnData:
    """Return a section without control features; their counts are in ``obsm["controls"]``.

    Controls are recognised by their names in ``var`` or, in files of 10x, by their ``feature_types``. A section with no
    controls, or only controls, is returned as it is. The genes of a backed section with controls are read into memory.

    Warns
    -----
    UserWarning
        The counts of the controls would take more than 1 GB, and are left out.
    """
    is_control = find_controls(adata.var)
    if not is_control.any() or is_control.all():
        return adata
    names = make_index_unique(pd.Index(adata.var_names[is_control].astype(str), dtype=object))
    with quiet_duplicates():
        counts = _counts(adata, is_control)
        spots = adata.obs_names
        genes = adata[:, ~is_control]
        adata = genes.to_memory() if genes.isbacked else genes.copy()
    size = counts.shape[0] * counts.shape[1] * counts.dtype.itemsize
    if size > _MOST_BYTES:
        warn_user(
            f"{len(names):,} controls are not genes and are left out: their counts in {len(spots):,} spots would take "
            f"{in_words(size)}."
        )
        return adata
    table = pd.DataFrame(counts.toarray(), index=spots, columns=names)
    write_result(adata, "obsm", Keys.CONTROLS, table)
    are = "control is not a gene and is" if len(names) == 1 else "controls are not genes and are"
    logger.info("%d %s kept in obsm[%r]: %s", len(names), are, Keys.CONTROLS, listed(names, 4))
    return adata


def find_controls(var: pd.DataFrame) -> np.ndarray:
    """Return which rows of ``var`` are controls, bool ``(n_genes,)``."""
    is_control = _match_names(var.index)
    for column in var.columns.intersection([*SYMBOL_COLUMNS]):
        is_control |= _match_names(var[column])
    for column in var.columns.intersection([*_KIND_COLUMNS]):
        kinds = var[column].astype(str).str.strip().str.lower().str.replace("_", " ")  # of a .zarr.zip with "_"
        is_control |= kinds.isin(_KINDS).to_numpy(dtype=bool)
    return is_control


def _match_names(names: pd.Index | pd.Series) -> np.ndarray:
    return np.array([_CONTROL.fullmatch(str(name).strip()) is not None for name in names], dtype=bool)


def _counts(adata: AnnData, columns: np.ndarray) -> csr_matrix:
    """Return some columns of the raw counts if the section declares them, else of ``X``, in the smallest type."""
    matrix = adata.layers.get(Keys.COUNTS)
    if matrix is not None:
        matrix = matrix[:, columns]
    else:
        view = adata[:, columns]
        matrix = view.to_memory().X if adata.isbacked else view.X
    counts = csr_matrix((adata.n_obs, int(columns.sum()))) if matrix is None else csr_matrix(matrix)
    values = counts.data
    if np.isfinite(values).all() and values.min(initial=0) >= 0 and not np.any(np.mod(values, 1)):
        counts = counts.astype(np.min_scalar_type(int(values.max(initial=0))))
    return counts
