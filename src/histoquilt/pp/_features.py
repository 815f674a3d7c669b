"""Expression to features and back: normalise, choose genes, z-score, PCA; invertible for denoising."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from histoquilt.pp._genes import shared_variable_genes, variable_genes
from histoquilt.pp._modelled_chunks import ModelledChunks
from histoquilt.pp._scaling import Scaling, mean_and_std, moments
from histoquilt.runtime import warn_user
from histoquilt.study import Expression, row_chunks

_ROUNDING = 1e-3  # of the spread of the first component; smaller ones are rounding, as of low-rank predictions
_LEAST_SHARED = 0.5  # of the modelled genes


@dataclass(frozen=True)
class GeneFeatures:
    """A fitted, invertible mapping from expression to features.

    Attributes
    ----------
    genes
        The modelled genes, in order.
    target_sum, log
        Normalisation: counts per ``target_sum`` over all genes measured, then log1p or not.
    mean, std
        ``(n_genes,)`` of the normalised genes; for several sections, the mean over them.
    clip
        Limit of absolute z-scores; infinity for none.
    components
        ``(n_pcs, n_genes)`` principal axes, or ``None`` if the unscaled genes are the features.
    by_section
        If true, every section, also a new one, is z-scored on its own; else with ``mean`` and ``std``.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=1)
    >>> source = hq.pp.expression(adata)
    >>> features, values, scaling = hq.pp.GeneFeatures.fit(source, n_genes=20, n_pcs=5, min_spots=5)
    >>> values.shape, len(features.genes)
    ((120, 5), 20)
    >>> features.inverse(values, scaling).shape
    (120, 20)
    """

    genes: list[str]
    target_sum: float
    log: bool
    mean: np.ndarray
    std: np.ndarray
    clip: float
    components: np.ndarray | None
    by_section: bool = False

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
        sections: np.ndarray | None = None,
        seed: int = 0,
    ) -> tuple["GeneFeatures", np.ndarray, Scaling]:
        """Fit on one or several sections; return the mapping, the features and their scaling.

        Features ``(n_spots, n_features)`` float32 are at most ``n_pcs`` principal components (``pca``), or the variable
        genes as normalised (``hvg``). With ``sections``, ``(n_spots,)`` names or numbers, genes are those of most
        sections (:func:`shared_variable_genes`), and every section is z-scored on its own before the common principal
        components. Expression is read in chunks of spots. Raises ``ValueError`` if no gene passes the filters of
        :func:`variable_genes`.
        """
        if source.scale == "log1p_cp10k":
            target_sum, log = 1e4, True
        choose = {"min_spots": min_spots, "min_counts": min_counts}
        if sections is None:
            chosen = variable_genes(source, n_genes, **choose)  # type: ignore[arg-type]
        else:
            chosen = shared_variable_genes(source, sections, n_genes, **choose)  # type: ignore[arg-type]
        genes = [source.genes[column] for column in chosen]
        chunks = ModelledChunks(source, chosen, target_sum, log)
        scaling = moments(chunks, chunks.shape[0], sections)
        mean, std = scaling.mean.mean(axis=0), scaling.std.mean(axis=0)
        if kind == "hvg":
            return cls(genes, target_sum, log, mean, std, np.inf, None), chunks.whole(), scaling
        n_axes = max(1, min(n_pcs, chunks.shape[0] - 1, len(genes)))  # centring takes one rank of the spots
        axes = chunks.principal_axes(scaling, clip, n_axes, seed=seed)
        features = chunks.project(scaling, clip, axes)
        parts = ((rows, features[rows]) for rows in row_chunks(*features.shape))
        spread = mean_and_std(parts, np.zeros(len(features), int))[1][0]
        bearing = spread >= _ROUNDING * spread.max()
        if not bearing.all():
            axes, features = axes[bearing], np.ascontiguousarray(features[:, bearing])
        fitted = cls(genes, target_sum, log, mean, std, clip, axes, by_section=sections is not None)
        return fitted, features, scaling

    def transform(self, source: Expression, sections: np.ndarray | None = None) -> tuple[np.ndarray, Scaling]:
        """Return the features of a section, ``(n_spots, n_features)`` float32, and their scaling.

        Missing genes get a z-score of 0, with a warning; if more than half are missing, ``ValueError`` is raised.
        ``sections`` as in :meth:`fit`; by default all spots are one section.
        """
        missing = self.missing_genes(source.genes)
        if missing:
            self._judge_missing(missing)
        position = {gene: column for column, gene in enumerate(source.genes)}
        columns = np.array([position.get(gene, -1) for gene in self.genes], int)
        here = columns >= 0
        chunks = ModelledChunks(source, columns, self.target_sum, self.log, None if here.all() else self.mean)
        scaling = Scaling(np.zeros(chunks.shape[0], int), self.mean[None], self.std[None])
        if self.by_section:
            scaling = moments(chunks, chunks.shape[0], sections)
            scaling.mean[:, ~here], scaling.std[:, ~here] = self.mean[~here], self.std[~here]
        if self.components is None:
            return chunks.whole(), scaling
        return chunks.project(scaling, self.clip, self.components), scaling

    def missing_genes(self, genes: list[str]) -> list[str]:
        """Return the modelled genes that are not among ``genes``."""
        known = set(genes)
        return [gene for gene in self.genes if gene not in known]

    def shares_enough(self, missing: list[str]) -> bool:
        """Return whether a section that lacks these genes has at least half of the modelled ones."""
        return len(self.genes) - len(missing) >= _LEAST_SHARED * len(self.genes)

    def _judge_missing(self, missing: list[str]) -> None:
        first = ", ".join(map(repr, missing[:5]))
        shared = len(self.genes) - len(missing)
        found = (
            f"The model knows {len(self.genes):,} genes; this section has {shared:,} of them and lacks "
            f"{len(missing):,}, first: {first}."
        )
        if not self.shares_enough(missing):
            raise ValueError(
                f"{found} At least {_LEAST_SHARED:.0%} are needed. Check that genes are named alike (symbols or "
                "Ensembl identifiers), fit on the genes your sections share, or load a model fitted on this panel."
            )
        warn_user(f"{found} They are filled with the average.")

    def inverse(self, features: np.ndarray, scaling: Scaling, genes: list[str] | None = None) -> np.ndarray:
        """Return genes for features, as log1p of counts per 10,000 of the whole transcriptome, ``(n_spots, n_genes)``.

        ``scaling`` comes from :meth:`fit` or :meth:`transform`. A gene that was not modelled raises ``KeyError``.
        """
        position = {gene: column for column, gene in enumerate(self.genes)}
        unknown = [gene for gene in genes or [] if gene not in position]
        if unknown:
            raise KeyError(
                f"Not among the {len(self.genes):,} modelled genes: {', '.join(map(repr, unknown[:5]))}. Only modelled "
                "(variable) genes can be denoised; raise n_genes in the config to model more."
            )
        columns = np.arange(len(self.genes)) if genes is None else np.array([position[gene] for gene in genes], int)
        values = np.empty((len(features), len(columns)), np.float32)
        for rows in row_chunks(len(features), len(self.genes)):
            values[rows] = self._to_genes(features[rows], scaling.of_rows(rows), columns)
        return values

    def _to_genes(self, features: np.ndarray, scaling: Scaling, columns: np.ndarray) -> np.ndarray:
        if self.components is None:
            values = features[:, columns]
        else:
            values = scaling.undo(features @ self.components[:, columns], columns)
        values = np.maximum(values, 0)
        if not self.log:
            values = np.log1p(values * np.float32(1e4 / self.target_sum))
        elif self.target_sum != 1e4:
            values = np.log1p(np.expm1(values) * np.float32(1e4 / self.target_sum))
        return values.astype(np.float32)
