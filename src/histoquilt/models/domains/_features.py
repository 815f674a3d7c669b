"""Conversion of sections to the features of a domain model."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData

from histoquilt.models.domains._feature_config import FeatureConfig
from histoquilt.pp import GeneFeatures, Scaling, expression
from histoquilt.study import check_obsm_key

_SETTINGS = ("n_genes", "n_pcs", "target_sum", "log", "clip", "min_spots", "min_counts")


@dataclass(frozen=True)
class SectionFeatures:
    """Fitted conversion of sections to features."""

    genes: GeneFeatures | None  # from expression to features and back; None if use_rep is given
    use_rep: str | None  # key in obsm of an embedding that is used as features
    n_features: int

    @classmethod
    def fit(
        cls,
        adata: AnnData,
        config: FeatureConfig,
        *,
        layer: str | None,
        use_rep: str | None,
        sections: np.ndarray | None = None,
    ) -> tuple["SectionFeatures", np.ndarray, Scaling | None]:
        """Fit, and return also the result of :meth:`transform`; sections: ``(n_spots,)``, scaled separately."""
        genes = scaling = None
        if use_rep is not None:
            features = _embedding(adata, use_rep)
        else:
            settings = {name: getattr(config, name) for name in _SETTINGS}
            genes, features, scaling = GeneFeatures.fit(
                expression(adata, layer, in_memory=False), kind=config.features, sections=sections, **settings
            )
        if np.ptp(features, axis=0).max() <= 1e-6 * max(features.max(), -features.min()):  # constant up to rounding
            where = "expression" if use_rep is None else f"values in obsm[{use_rep!r}]"
            raise ValueError(
                f"All {len(features):,} spots have the same {where}, so domains cannot be distinguished. Check which "
                "matrix was read."
            )
        return cls(genes, use_rep, features.shape[1]), features, scaling

    @staticmethod
    def settings_of(config: FeatureConfig) -> tuple[Any, ...]:
        """Return the settings that features depend on."""
        return (config.features, *(getattr(config, name) for name in _SETTINGS))

    def transform(
        self, adata: AnnData, layer: str | None = None, sections: np.ndarray | None = None
    ) -> tuple[np.ndarray, Scaling | None]:
        """Return the features of sections, ``(n_spots, n_features)`` float32, and the scaling of their genes."""
        if self.genes is not None:
            return self.genes.transform(expression(adata, layer, in_memory=False), sections)
        assert self.use_rep is not None
        features = _embedding(adata, self.use_rep)
        if features.shape[1] != self.n_features:
            raise ValueError(
                f"The model was fitted on {self.n_features} columns of obsm[{self.use_rep!r}], this section has "
                f"{features.shape[1]}. Compute the embedding of both sections together."
            )
        return features, None

    def settings(self) -> dict[str, Any]:
        """Return what is not an array, as values that JSON can hold."""
        settings: dict[str, Any] = {"use_rep": self.use_rep, "n_features": self.n_features}
        if self.genes is not None:
            steps = self.genes
            clip = steps.clip if np.isfinite(steps.clip) else None  # JSON has no infinity
            settings |= {"target_sum": steps.target_sum, "log": steps.log, "clip": clip, "by_section": steps.by_section}
        return settings

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fitted arrays by name."""
        steps = {} if self.genes is None else vars(self.genes)
        return {name: value for name, value in steps.items() if isinstance(value, np.ndarray)}

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray], genes: list[str]) -> "SectionFeatures":
        """Rebuild from :meth:`settings`, :meth:`arrays` and the modelled genes."""
        steps = None
        if settings["use_rep"] is None:
            clip = settings["clip"]
            if len(genes) != len(arrays["mean"]):
                raise ValueError(f"{len(genes)} genes are named, {len(arrays['mean'])} were modelled")
            steps = GeneFeatures(
                genes=genes,
                target_sum=settings["target_sum"],
                log=settings["log"],
                mean=arrays["mean"],
                std=arrays["std"],
                clip=np.inf if clip is None else clip,
                components=arrays.get("components"),
                by_section=settings["by_section"],
            )
        return cls(steps, settings["use_rep"], settings["n_features"])


def _embedding(adata: AnnData, use_rep: str) -> np.ndarray:
    check_obsm_key(adata, use_rep, argument="use_rep")
    values = np.ascontiguousarray(adata.obsm[use_rep], dtype=np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(
            f"adata.obsm[{use_rep!r}] must be a finite matrix (n_spots, n_features), got shape {values.shape}"
            f"{'' if np.isfinite(values).all() else ' with NaN or infinite values'}."
        )
    return values
