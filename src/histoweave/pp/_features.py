"""Expression to features and back: normalise, choose genes, z-score, PCA; each step can be undone for denoising."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.utils.extmath import randomized_svd

from histoweave.pp._genes import variable_genes
from histoweave.pp._source import Expression


@dataclass(frozen=True)
class GeneFeatures:
    """A fitted way from expression to features, kept so that it can be undone and used on other sections.

    Attributes
    ----------
    genes
        The modelled genes, in order.
    target_sum, log
        Normalisation: counts per ``target_sum`` over all genes measured, then log1p or not.
    mean, std
        ``(n_genes,)`` of the normalised genes. Zeros and ones where nothing is scaled (``hvg`` features).
    clip
        z-scores are cut at plus and minus this; infinity for no limit.
    components
        ``(n_pcs, n_genes)`` principal axes, or ``None`` where the genes themselves are the features.
    """

    genes: list[str]
    target_sum: float
    log: bool
    mean: np.ndarray
    std: np.ndarray
    clip: float
    components: np.ndarray | None

    @classmethod
    def fit(
        cls,
        source: Expression,
        *,
        kind: Literal["pca", "hvg"] = "pca",
        n_genes: int = 3000,
        n_pcs: int = 200,
        target_sum: float = 1e4,
        log: bool = True,
        clip: float = 10.0,
        min_spots: int = 50,
        min_counts: float = 10,
        seed: int = 0,
    ) -> tuple["GeneFeatures", np.ndarray]:
        """Fit on one section and return the fitted steps and its features.

        Returns
        -------
        The fitted steps, and features ``(n_spots, n_features)`` float32: at most ``n_pcs`` principal components
        (``pca``), or the variable genes themselves as normalised (``hvg``).

        Raises
        ------
        ValueError
            No gene passes the filters of :func:`variable_genes`.
        """
        if source.scale == "log1p_cp10k":
            target_sum, log = 1e4, True
        chosen = variable_genes(source, n_genes, min_spots=min_spots, min_counts=min_counts)
        genes = [source.genes[column] for column in chosen]
        values = source.normalised(target_sum, log=log)[:, chosen].toarray()
        if kind == "hvg":
            nothing = np.zeros(len(genes), np.float32)
            return cls(genes, target_sum, log, nothing, nothing + 1, np.inf, None), values
        mean, std = values.mean(axis=0), values.std(axis=0)
        std[std == 0] = 1.0
        scaled = _z_score(values, mean, std, clip)
        k = max(1, min(n_pcs, len(scaled) - 1, len(genes)))  # centring takes one rank of the spots
        # a seeded randomised SVD takes a tenth of the exact one's time here; its axes are those of the leading PCs
        _, _, components = randomized_svd(scaled, k, n_iter=4, random_state=seed)
        fitted = cls(genes, target_sum, log, mean, std, clip, components.astype(np.float32))
        return fitted, scaled @ fitted.components.T  # type: ignore[union-attr]

    def transform(self, source: Expression) -> np.ndarray:
        """Return the features of a section that has all modelled genes, ``(n_spots, n_features)`` float32.

        Raises
        ------
        ValueError
            Modelled genes are missing from the section.
        """
        position = {gene: column for column, gene in enumerate(source.genes)}
        missing = [gene for gene in self.genes if gene not in position]
        if missing:
            first = ", ".join(map(repr, missing[:5]))
            raise ValueError(
                f"The model knows {len(self.genes):,} genes; this section lacks {len(missing):,} of them, first: "
                f"{first}. Fit on the genes your sections share, or load a model fitted on this panel."
            )
        columns = [position[gene] for gene in self.genes]
        values = source.normalised(self.target_sum, log=self.log)[:, columns].toarray()
        if self.components is None:
            return values
        return _z_score(values, self.mean, self.std, self.clip) @ self.components.T

    def inverse(self, features: np.ndarray, genes: list[str] | None = None) -> np.ndarray:
        """Bring features back to genes, on the scale log1p of counts per 10,000, ``(n_spots, n_genes)`` float32.

        The modelled genes are a part of the transcriptome; counts keep the share of the depth that they had.

        Raises
        ------
        KeyError
            A gene was not modelled.
        """
        position = {gene: column for column, gene in enumerate(self.genes)}
        unknown = [gene for gene in genes or [] if gene not in position]
        if unknown:
            raise KeyError(
                f"Not among the {len(self.genes):,} modelled genes: {', '.join(map(repr, unknown[:5]))}. Only modelled "
                "(variable) genes can be denoised; raise n_genes in the config to model more."
            )
        columns = np.arange(len(self.genes)) if genes is None else np.array([position[gene] for gene in genes], int)
        if self.components is None:
            values = features[:, columns]
        else:
            values = features @ self.components[:, columns] * self.std[columns] + self.mean[columns]
        values = np.maximum(values, 0)
        if not self.log:
            values = np.log1p(values * np.float32(1e4 / self.target_sum))
        elif self.target_sum != 1e4:
            values = np.log1p(np.expm1(values) * np.float32(1e4 / self.target_sum))
        return values.astype(np.float32)


def _z_score(values: np.ndarray, mean: np.ndarray, std: np.ndarray, clip: float) -> np.ndarray:
    return np.clip((values - mean) / std, -clip, clip)
