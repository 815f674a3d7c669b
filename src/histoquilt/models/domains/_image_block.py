"""Image embeddings of spots as features: components in which neighbouring spots agree.

The columns of all embeddings are standardised within each section, since stain differs between sections, and reduced
to 100 principal components. These are turned to the directions of largest covariance between neighbours (MULTISPATI,
Dray, Said & Debias 2008); those remain that exceed the largest one of 19 shuffles of the spots. Each is multiplied by
the root of the *share* of its variance that neighbours have in common, so that texture which changes from spot to spot
vanishes, and the variance of the block is the variance that neighbours share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from anndata import AnnData
from scipy.sparse import csr_matrix
from sklearn.decomposition import PCA

from histoquilt._base import MissingKey, argument

_PRINCIPAL = 100
_MOST_COMPONENTS = 50
_SHUFFLES = 19  # noise exceeds all of them in one image of 20


@dataclass(frozen=True)
class ImageBlock:
    """Fitted conversion of image embeddings to components, each scaled by the root of its share."""

    keys: tuple[str, ...]  # of the embeddings in obsm
    components: np.ndarray  # (n_columns, n_components) from standardised columns, total variance 1, to the block

    @classmethod
    def fit(
        cls, adata: AnnData, keys: Sequence[str], adjacency: csr_matrix, sections: np.ndarray | None
    ) -> tuple["ImageBlock", np.ndarray]:
        """Fit on sections; return also the block, ``(n_spots, n_components)`` float32.

        adjacency: ``(n_spots, n_spots)`` graph within sections; sections: ``(n_spots,)`` names, or None for one.
        Raises ``KeyError`` or ``ValueError`` for embeddings that are missing or cannot be used. Without components if
        neighbours agree in none; :meth:`shows_regions` is then false.
        """
        columns = _standardised(adata, keys, sections)
        if not columns.any():
            raise ValueError(
                f"The image embedding {_named(keys)} is the same in all {adata.n_obs:,} spots, so the image "
                "distinguishes nothing. Check the image, and whether the spots lie on it."
            )
        pca = PCA(min(_PRINCIPAL, adata.n_obs - 1, columns.shape[1]), random_state=0).fit(columns)
        scores = columns @ pca.components_.T
        shared, axes = np.linalg.eigh(_neighbour_covariance(scores, adjacency))
        rng = np.random.default_rng(0)
        shuffled = (scores[rng.permutation(len(scores))] for _ in range(_SHUFFLES))
        chance = max(np.linalg.eigvalsh(_neighbour_covariance(one, adjacency))[-1] for one in shuffled)
        bearing = np.flatnonzero(shared > chance)[::-1][:_MOST_COMPONENTS]
        variance = (scores @ axes[:, bearing]).var(axis=0)
        scale = np.sqrt(shared[bearing] / np.maximum(variance, np.finfo(np.float32).tiny))
        components = (pca.components_.T @ axes[:, bearing] * scale).astype(np.float32)
        return cls(tuple(keys), components), columns @ components

    @property
    def shows_regions(self) -> bool:
        """Whether neighbouring spots agree more than by chance."""
        return self.components.shape[1] > 0

    def no_regions(self) -> str:
        """Return the start of a message that they do not."""
        return f"Neighbouring spots are no more alike in the image embedding {_named(self.keys)} than distant ones"

    def transform(self, adata: AnnData, sections: np.ndarray | None) -> np.ndarray:
        """Return the block of other sections, ``(n_spots, n_components)`` float32."""
        columns = _standardised(adata, self.keys, sections)
        if columns.shape[1] != len(self.components):
            raise ValueError(
                f"The model was fitted on {len(self.components)} columns of {_named(self.keys)}, this section has "
                f"{columns.shape[1]}. Embed the images of all sections with the same encoder."
            )
        return columns @ self.components


def shared_variance(values: np.ndarray, adjacency: csr_matrix) -> np.ndarray:
    """Return the covariance of neighbours in every column of ``(n_spots, n_columns)``, ``(n_columns,)``; 0 or more."""
    centred = values - values.mean(axis=0)
    products = np.einsum("ij,ij->j", centred, adjacency @ centred, dtype=np.float64)
    return np.maximum(products / max(float(adjacency.sum()), 1.0), 0.0)


def _neighbour_covariance(scores: np.ndarray, adjacency: csr_matrix) -> np.ndarray:
    """Return the covariance between neighbours of centred scores, symmetric, ``(n_columns, n_columns)`` float64."""
    shared = np.asarray(scores.T @ (adjacency @ scores), dtype=np.float64) / max(float(adjacency.sum()), 1.0)
    return (shared + shared.T) / 2


def _standardised(adata: AnnData, keys: Sequence[str], sections: np.ndarray | None) -> np.ndarray:
    """Return the columns of all embeddings, each of mean 0 and, if it varies, of equal variance in every section.

    The columns of every embedding have a total variance of 1 / ``len(keys)``, whatever their number.
    """
    names = np.zeros(adata.n_obs, int) if sections is None else sections
    blocks = []
    for key in keys:
        values = _embedding(adata, key)
        for name in np.unique(names):
            rows = names == name
            part = values[rows] - values[rows].mean(axis=0)
            spread = part.std(axis=0)
            varies = spread > 1e-6 * np.abs(values[rows]).max(initial=0)
            values[rows] = np.divide(part, spread, out=np.zeros_like(part), where=varies)
        blocks.append(values / math.sqrt(values.shape[1] * len(keys)))
    return np.concatenate(blocks, axis=1)


def _embedding(adata: AnnData, key: str) -> np.ndarray:
    if key not in adata.obsm:
        raise MissingKey(
            key, "adata.obsm", adata.obsm,
            f"Embed the image of the section (histoquilt.im.embed_patches), or name its embedding: "
            f"{argument('image_key')}.",
        )  # fmt: skip
    values = np.array(adata.obsm[key], dtype=np.float32)
    if values.ndim != 2 or not values.shape[1]:
        raise ValueError(f"adata.obsm[{key!r}] must be an image embedding (n_spots, n_features), got {values.shape}.")
    bad = int((~np.isfinite(values)).any(axis=1).sum())
    if bad:
        raise ValueError(
            f"adata.obsm[{key!r}] holds NaN or infinite values in {bad:,} of {len(values):,} spots. Embed the image "
            "again, or drop these spots."
        )
    return values


def _named(keys: Sequence[str]) -> str:
    return ", ".join(f"obsm[{key!r}]" for key in keys)
