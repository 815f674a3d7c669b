"""Labels of the default clustering next to those of another one."""

import numpy as np
import pandas as pd
from anndata import AnnData

from histoquilt.cluster import align_labels
from histoquilt.metrics import ari
from histoquilt.study import write_result


def write_mixture_labels(adata: AnnData, key_added: str, domains: "pd.Categorical[str]", mixture: np.ndarray) -> float:
    """Write ``obs[f"{key_added}_mixture"]`` and return its adjusted Rand index with ``domains``.

    ``mixture`` ``(n_spots,)`` are codes; every domain gets the name of the one that it overlaps most, one to one.
    """
    names = pd.Index(domains.categories, dtype=object)
    codes = align_labels(mixture, domains)
    write_result(adata, "obs", f"{key_added}_mixture", pd.Categorical.from_codes(codes, names))
    return float(ari(domains, codes))
