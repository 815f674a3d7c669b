"""Control probes and spike-ins among the genes, set aside under one list of names for all platforms."""

import re

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import issparse

from histoweave._checks import _listed
from histoweave._keys import Keys
from histoweave._runtime import logger, warn_user
from histoweave._written import write_result

# CosMx, MERSCOPE, Xenium and the spike-ins of the External RNA Controls Consortium; no gene has such a name (the gene
# ERCC1 has no dash, spike-ins are ERCC-00002)
_CONTROLS = re.compile(
    r"NegPrb\d*|NegProbe\b.*|Negative([\s_\-.]?(control|probe|prb).*|[\s_\-.]?\d+)?|SystemControl[\s_\-.]?\d*|"
    r"FalseCode[\s_\-.]?\w*|Blank[\s_\-.]?\d+|Blank_\w+|NegControl(Probe|Codeword)?[_\-]?\w*|"
    r"(Unassigned|Deprecated)Codeword[_\-]?\w*|antisense_.+|Intergenic_Region[_\-]?\w*|ERCC[-_.]\d{3,}",
    re.IGNORECASE,
)


def is_control(names: pd.Index) -> np.ndarray:
    """Return which names are those of controls, as a mask.

    Examples
    --------
    >>> is_control(pd.Index(["NegPrb3", "ERCC-00002", "ERCC1", "Blank-17", "ACTB"])).tolist()
    [True, True, False, True, False]
    """
    return np.array([_CONTROLS.fullmatch(name) is not None for name in names.astype(str)], dtype=bool)


def set_controls_aside(adata: AnnData) -> AnnData:
    """Return a section whose genes are genes; counts of controls are in ``obsm["controls"]``, one column each."""
    controls = is_control(adata.var_names)
    if Keys.GENE_SYMBOL in adata.var:
        controls |= is_control(pd.Index(adata.var[Keys.GENE_SYMBOL]))
    if not controls.any() or controls.all():
        return adata
    names = adata.var_names[controls]
    if adata.isbacked:
        warn_user(
            f"{len(names):,} of {adata.n_vars:,} genes are controls ({_listed(names, 4)}). They stay among the genes, "
            "because the counts stay in their file: write the section without them to leave them out."
        )
        return adata
    table = None if adata.X is None else adata.X[:, np.flatnonzero(controls)]
    adata = adata[:, ~controls].copy()
    if table is not None:
        dense = table.toarray() if issparse(table) else np.asarray(table)
        values = pd.DataFrame(_small(dense), index=adata.obs_names, columns=names.astype(str))
        write_result(adata, "obsm", Keys.CONTROLS, values)
    logger.info("%d controls (%s) are not genes: they are in obsm[%r]", len(names), _listed(names, 4), Keys.CONTROLS)
    return adata


def _small(values: np.ndarray) -> np.ndarray:
    """Return whole numbers in the smallest type that holds them, others as they are."""
    if values.size == 0 or values.min() < 0 or (values != np.rint(values)).any():
        return values
    return values.astype(np.min_scalar_type(int(values.max())))
