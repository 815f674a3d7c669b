"""Mixing of sections before and after integration, compared with Harmony."""

import warnings

import numpy as np
from anndata import AnnData

from histoquilt._base import Keys, is_installed
from histoquilt.metrics import mixing_table
from histoquilt.pp import GeneFeatures, expression
from histoquilt.runtime import logger
from histoquilt.study import provenance, write_result

_N_PCS = 30


def write_mixing(
    adata: AnnData,
    *,
    section_key: str = Keys.SECTION,
    layer: str | None = None,
    use_rep: str | None = None,
    embedding_key: str = Keys.EMBEDDING,
    domain_key: str = Keys.DOMAIN,
    seed: int = 0,
) -> None:
    """Measure the mixing of sections in plain principal components, after Harmony, and in the histoquilt embedding.

    Separation of domains is measured with ``obs[domain_key]``, which favours the embedding it was derived from.

    Parameters
    ----------
    adata
        All sections, with domains and embedding.
    section_key, layer, use_rep, embedding_key, domain_key
        Keys of sections, expression, embeddings and domains; ``use_rep`` is taken as the embedding before integration.
    seed
        Random seed of Harmony and of the sample of spots.

    Returns
    -------
    None. Adds ``obsm["X_before"]``, ``obsm["X_harmony"]`` (if harmonypy is installed) and
    ``uns["histoquilt"]["mixing"]``.
    """
    sections = adata.obs[section_key].astype(str).to_numpy()
    if use_rep is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # said while the model was fitted
            before = GeneFeatures.fit(expression(adata, layer), n_pcs=_N_PCS, seed=seed)[1]
    else:
        before = np.asarray(adata.obsm[use_rep], np.float32)[:, :_N_PCS]
    write_result(adata, "obsm", Keys.BEFORE, before)
    embeddings = {"before": before}
    if is_installed("harmonypy"):
        embeddings["harmony"] = harmony(before, sections, seed=seed)
        write_result(adata, "obsm", Keys.HARMONY, embeddings["harmony"])
    else:
        logger.info("harmonypy is not installed, so mixing is not compared with Harmony (extra: cluster).")
    embeddings["histoquilt"] = adata.obsm[embedding_key]
    provenance(adata)["mixing"] = mixing_table(embeddings, sections, adata.obs[domain_key].astype(str), seed=seed)


def harmony(embedding: np.ndarray, sections: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Return the embedding after Harmony, ``(n_spots, n_dims)`` float32.

    References
    ----------
    Korsunsky et al. Nature Methods 16: 1289-1296, 2019.
    """
    import harmonypy
    import pandas as pd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = harmonypy.run_harmony(
            np.asarray(embedding, np.float64),
            pd.DataFrame({"section": sections}),
            "section",
            random_state=seed,
            verbose=False,
        )
    corrected = np.asarray(fitted.Z_corr, dtype=np.float32)
    return corrected if corrected.shape == embedding.shape else np.ascontiguousarray(corrected.T)
