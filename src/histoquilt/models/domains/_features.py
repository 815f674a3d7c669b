"""Conversion of sections to the features of a domain model."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.models.domains._feature_config import FeatureConfig
from histoquilt.models.domains._image_block import ImageBlock, shared_variance
from histoquilt.pp import GeneFeatures, Scaling, expression
from histoquilt.runtime import warn_user
from histoquilt.study import check_obsm_key

_SETTINGS = ("n_genes", "n_pcs", "target_sum", "log", "clip", "min_spots", "min_counts")


@dataclass(frozen=True)
class SectionFeatures:
    """Fitted conversion of sections to features."""

    genes: GeneFeatures | None  # from expression to features and back; None if use_rep is given or image is "only"
    use_rep: str | None  # key in obsm of an embedding that is used as features
    n_features: int
    image: ImageBlock | None = None  # None unless image is "features" or "only"
    order: np.ndarray | None = None  # (n_features,) of the columns, those of the image last; None without image

    @classmethod
    def fit(
        cls,
        adata: AnnData,
        config: FeatureConfig,
        *,
        layer: str | None,
        use_rep: str | None,
        sections: np.ndarray | None = None,
        adjacency: csr_matrix | None = None,
    ) -> tuple["SectionFeatures", np.ndarray, Scaling | None]:
        """Fit, and return also the result of :meth:`transform`.

        sections: ``(n_spots,)``, scaled separately; adjacency: graph within sections, needed for images.
        """
        image = block = None
        if config.image in ("features", "only"):
            assert adjacency is not None
            image, block = ImageBlock.fit(adata, config.image_keys or (), adjacency, sections)
        if config.image == "only":
            return cls._of_image(image, block)
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
        if image is None:
            return cls(genes, use_rep, features.shape[1]), features, scaling
        return *cls._joined(genes, use_rep, features, image, block, adjacency), scaling

    @classmethod
    def _of_image(cls, image: Any, block: Any) -> tuple["SectionFeatures", np.ndarray, None]:
        """Return features of the image alone, the components of most variance first."""
        if not image.shows_regions:
            raise ValueError(f"{image.no_regions()}, so there are no domains to find in it. Use the genes.")
        order = np.argsort(-block.var(axis=0), kind="stable")
        return cls(None, None, block.shape[1], image, order), np.ascontiguousarray(block[:, order]), None

    @classmethod
    def _joined(
        cls, genes: Any, use_rep: str | None, features: np.ndarray, image: Any, block: Any, adjacency: Any
    ) -> tuple["SectionFeatures", np.ndarray]:
        """Return features with the columns of the image among them, by their variance.

        The variance of the image is scaled to that which neighbours share in the other features.
        """
        if not image.shows_regions:
            warn_user(f"{image.no_regions()}; the image is not used.")
        own = float(block.var(axis=0).sum()) or 1.0
        scale = np.float32(np.sqrt(shared_variance(features, adjacency).sum() / own))
        image = replace(image, components=image.components * scale)
        variance = np.concatenate([np.minimum.accumulate(features.var(axis=0)), block.var(axis=0) * scale**2])
        order = np.argsort(-variance, kind="stable")  # earlier features stay in their order
        values = np.concatenate([features, block * scale], axis=1)[:, order]
        return cls(genes, use_rep, len(order), image, order), np.ascontiguousarray(values)

    @staticmethod
    def settings_of(config: FeatureConfig) -> tuple[Any, ...]:
        """Return the settings that features depend on."""
        image = (config.image, config.image_keys) if config.image in ("features", "only") else None
        return (config.features, *(getattr(config, name) for name in _SETTINGS), image)

    def transform(
        self, adata: AnnData, layer: str | None = None, sections: np.ndarray | None = None
    ) -> tuple[np.ndarray, Scaling | None]:
        """Return the features of sections, ``(n_spots, n_features)`` float32, and the scaling of their genes."""
        scaling, parts = None, []
        if self.genes is not None:
            features, scaling = self.genes.transform(expression(adata, layer, in_memory=False), sections)
            parts.append(features)
        elif self.use_rep is not None:
            parts.append(self._of_rep(adata, self.use_rep))
        if self.image is None:
            return parts[0], scaling
        parts.append(self.image.transform(adata, sections))
        return np.ascontiguousarray(np.concatenate(parts, axis=1)[:, self.order]), scaling

    def without_image(self, features: np.ndarray) -> np.ndarray:
        """Return the columns of features that were not made from the image, in their own order."""
        if self.image is None or self.order is None:
            return features
        return features[:, np.argsort(self.order)[: self.n_features - self.image.components.shape[1]]]

    def _of_rep(self, adata: AnnData, use_rep: str) -> np.ndarray:
        features = _embedding(adata, use_rep)
        width = self.n_features - (0 if self.image is None else self.image.components.shape[1])
        if features.shape[1] != width:
            raise ValueError(
                f"The model was fitted on {width} columns of obsm[{use_rep!r}], this section has "
                f"{features.shape[1]}. Compute the embedding of both sections together."
            )
        return features

    @property
    def source(self) -> str:
        """What the features were made from, for messages."""
        made = [f"{len(self.genes.genes):,} genes"] if self.genes is not None else []
        made += [] if self.use_rep is None else [f"obsm[{self.use_rep!r}]"]
        made += [] if self.image is None else [f"obsm[{key!r}]" for key in self.image.keys]
        return ", ".join(made)

    def settings(self) -> dict[str, Any]:
        """Return what is not an array, as values that JSON can hold."""
        settings: dict[str, Any] = {"use_rep": self.use_rep, "n_features": self.n_features}
        if self.image is not None:
            settings["image_keys"] = list(self.image.keys)
        if self.genes is not None:
            steps = self.genes
            clip = steps.clip if np.isfinite(steps.clip) else None  # JSON has no infinity
            settings |= {"target_sum": steps.target_sum, "log": steps.log, "clip": clip, "by_section": steps.by_section}
        return settings

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fitted arrays by name."""
        steps = {} if self.genes is None else vars(self.genes)
        arrays = {name: value for name, value in steps.items() if isinstance(value, np.ndarray)}
        if self.image is not None and self.order is not None:
            arrays |= {"image_components": self.image.components, "order": self.order}
        return arrays

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray], genes: list[str]) -> "SectionFeatures":
        """Rebuild from :meth:`settings`, :meth:`arrays` and the modelled genes."""
        steps = image = None
        if "image_keys" in settings:
            image = ImageBlock(tuple(settings["image_keys"]), arrays["image_components"])
        if "clip" in settings:
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
        return cls(steps, settings["use_rep"], settings["n_features"], image, arrays.get("order"))


def _embedding(adata: AnnData, use_rep: str) -> np.ndarray:
    check_obsm_key(adata, use_rep, argument="use_rep")
    values = np.ascontiguousarray(adata.obsm[use_rep], dtype=np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(
            f"adata.obsm[{use_rep!r}] must be a finite matrix (n_spots, n_features), got shape {values.shape}"
            f"{'' if np.isfinite(values).all() else ' with NaN or infinite values'}."
        )
    return values
