"""From a section to what SpaMask's network sees, and back to genes."""

from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.pp import GeneFeatures, Scaling, SpatialFactors, by_chunks, expression, row_chunks
from histoquilt.study import check_obsm_key


@dataclass(frozen=True)
class WayBack:
    """Scaling factors that map reconstructed network inputs of a section back to expression.

    Attributes
    ----------
    row_scale
        Length of each spot's features relative to the common length, ``(n_spots,)``.
    scaling
        Scaling of the section's genes; ``None`` if features were not made from genes.
    """

    row_scale: np.ndarray
    scaling: Scaling | None

    def of_rows(self, rows: slice) -> "WayBack":
        """Return the same for some of the spots."""
        return WayBack(self.row_scale[rows], None if self.scaling is None else self.scaling.of_rows(rows))


@dataclass(frozen=True)
class SpaMaskInputs:
    """Fitted steps before the network, kept so that they can be undone and used on other sections.

    Attributes
    ----------
    genes
        Expression to features, or ``None`` where features are an embedding of the user's (``use_rep``).
    use_rep
        Key of that embedding in ``obsm``, or ``None``.
    factors
        Features to spatial factors, or ``None`` where the network sees the features themselves.
    n_features
        Width of the features.
    """

    genes: GeneFeatures | None
    use_rep: str | None
    factors: SpatialFactors | None
    n_features: int

    @classmethod
    def fit(
        cls,
        adata: AnnData,
        adjacency: csr_matrix,
        config: SpaMaskConfig,
        *,
        layer: str | None,
        use_rep: str | None,
        sections: np.ndarray | None = None,
    ) -> tuple["SpaMaskInputs", np.ndarray]:
        """Fit on one or several sections; returns the fitted steps and the network's input, ``(n_spots, n_inputs)``.

        ``sections``, ``(n_spots,)``: scale the genes of each on its own.
        """
        genes = None
        if use_rep is not None:
            features = _embedding(adata, use_rep)
        else:
            genes, features = GeneFeatures.fit(
                expression(adata, layer, in_memory=False),
                kind=config.features,
                n_genes=config.n_genes,
                n_pcs=config.n_pcs,
                target_sum=config.target_sum,
                log=config.log,
                clip=config.clip,
                min_spots=config.min_spots,
                min_counts=config.min_counts,
                sections=sections,
            )
        if np.ptp(features, axis=0).max() <= 1e-6 * max(features.max(), -features.min()):  # equal but for rounding
            where = "expression" if use_rep is None else f"values in obsm[{use_rep!r}]"
            raise ValueError(
                f"All {len(features):,} spots have the same {where}, so no domain can be told from another. "
                "Check which matrix was read."
            )
        factors = None
        if config.spatial_factors:
            factors = SpatialFactors.fit(
                features,
                adjacency,
                outlier_sd=config.outlier_sd,
                equal_length=config.equal_length,
                max_factors=config.max_factors,
            )
        fitted = cls(genes, use_rep, factors, features.shape[1])
        return fitted, fitted._to_input(features)

    def transform(
        self, adata: AnnData, layer: str | None = None, sections: np.ndarray | None = None
    ) -> tuple[np.ndarray, WayBack]:
        """Return the network's input for one or several sections, ``(n_spots, n_inputs)`` float32, and the way back."""
        scaling = None
        if self.genes is not None:
            features, scaling = self.genes.transform(expression(adata, layer, in_memory=False), sections)
        else:
            assert self.use_rep is not None
            features = _embedding(adata, self.use_rep)
            if features.shape[1] != self.n_features:
                raise ValueError(
                    f"The model was fitted on {self.n_features} columns of obsm[{self.use_rep!r}], this section has "
                    f"{features.shape[1]}. Compute the embedding of both sections together."
                )
        row_scale = np.ones(adata.n_obs) if self.factors is None else self.factors.row_scale(features)
        return self._to_input(features), WayBack(row_scale, scaling)

    def _to_input(self, features: np.ndarray) -> np.ndarray:
        if self.factors is None:
            return np.ascontiguousarray(features, dtype=np.float32)
        return self.factors.transform(features).astype(np.float32, copy=False)

    def inverse(self, inputs: np.ndarray, way_back: WayBack, genes: list[str] | None = None) -> np.ndarray:
        """Bring network inputs back to genes, log1p of counts per 10,000, ``(n_spots, n_genes)`` float32.

        Raises
        ------
        ValueError
            Features were not made from genes.
        KeyError
            A gene was not modelled.
        """
        if self.genes is None:
            raise ValueError(
                f"The model was fitted on obsm[{self.use_rep!r}], not on genes, so it cannot denoise expression. "
                "Fit it on counts (use_rep=None)."
            )
        if not by_chunks(len(inputs)):
            return self._to_genes(inputs, way_back, genes)
        n_modelled = len(self.genes.genes)
        values = np.empty((len(inputs), n_modelled if genes is None else len(genes)), np.float32)
        for rows in row_chunks(len(inputs), max(self.n_features, n_modelled)):
            values[rows] = self._to_genes(inputs[rows], way_back.of_rows(rows), genes)
        return values

    def _to_genes(self, inputs: np.ndarray, way_back: WayBack, genes: list[str] | None) -> np.ndarray:
        assert self.genes is not None
        assert way_back.scaling is not None
        features = inputs if self.factors is None else self.factors.inverse(inputs, way_back.row_scale)
        return self.genes.inverse(features, way_back.scaling, genes)

    @property
    def n_inputs(self) -> int:
        """Width of the network's input."""
        if self.factors is not None:
            return self.factors.projection.shape[1]
        return self.n_features

    @property
    def hops(self) -> np.ndarray | None:
        """Averagings over the graph of every input, ``(n_inputs,)``, or ``None`` where there are no factors."""
        return None if self.factors is None else self.factors.hops

    @property
    def noise(self) -> np.ndarray | None:
        """Variance of the noise in every input, ``(n_inputs,)``; ``None`` without factors."""
        return None if self.factors is None else self.factors.noise

    def settings(self) -> dict[str, Any]:
        """Return what is no array, ready for JSON."""
        settings: dict[str, Any] = {"use_rep": self.use_rep, "n_features": self.n_features}
        if self.factors is not None:
            settings["length"] = self.factors.length
            settings["n_fitted"] = self.factors.n_fitted
        if self.genes is not None:
            # JSON has no infinity
            clip = self.genes.clip if np.isfinite(self.genes.clip) else None
            settings |= {
                "target_sum": self.genes.target_sum,
                "log": self.genes.log,
                "clip": clip,
                "by_section": self.genes.by_section,
            }
        return settings

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fitted arrays by name."""
        parts = {"genes": self.genes, "factors": self.factors}
        return {
            f"{part}.{name}": value
            for part, steps in parts.items()
            for name, value in vars(steps or SimpleNamespace()).items()
            if isinstance(value, np.ndarray)
        }

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray], genes: list[str]) -> "SpaMaskInputs":
        """Rebuild from :meth:`settings`, :meth:`arrays` and the modelled genes."""
        steps = None
        if settings["use_rep"] is None:
            if len(genes) != len(arrays["genes.mean"]):
                raise ValueError(f"{len(genes)} genes are named, {len(arrays['genes.mean'])} were modelled")
            clip = np.inf if settings["clip"] is None else settings["clip"]
            steps = GeneFeatures(
                genes=genes,
                target_sum=settings["target_sum"],
                log=settings["log"],
                mean=arrays["genes.mean"],
                std=arrays["genes.std"],
                clip=clip,
                components=arrays.get("genes.components"),
                by_section=settings["by_section"],
            )
        factors = None
        if "factors.center" in arrays:
            stored = {
                f.name: arrays[f"factors.{f.name}"]
                for f in fields(SpatialFactors)
                if f.name not in ("length", "n_fitted")
            }
            n_fitted = settings.get("n_fitted", 0)  # models saved by earlier versions do not say
            factors = SpatialFactors(length=settings["length"], n_fitted=n_fitted, **stored)
        return cls(steps, settings["use_rep"], factors, settings["n_features"])


def _embedding(adata: AnnData, use_rep: str) -> np.ndarray:
    check_obsm_key(adata, use_rep, argument="use_rep")
    values = np.asarray(adata.obsm[use_rep], dtype=np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(
            f"adata.obsm[{use_rep!r}] must be a finite matrix (n_spots, n_features), got shape {values.shape}"
            f"{'' if np.isfinite(values).all() else ' with NaN or infinite values'}."
        )
    return values
