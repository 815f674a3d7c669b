"""Embeddings of halves of the counts: the domain model of a section, fitted anew to thinned counts."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import DOMAIN_MODELS, Keys, argument, message_of
from histoquilt.models import DomainModel, Made
from histoquilt.pp import expression
from histoquilt.study import provenance

_MOST_SPOTS = 50_000  # of which counts are split unless asked for: every half takes as long as the domains did


class NoCountsToSplitError(ValueError):
    """Counts cannot be split; the message says why."""


@dataclass(frozen=True)
class CountHalves:
    """Recorded model of the domains and raw counts of sections, for count splitting."""

    kind: type[DomainModel]
    config: Any
    counts: csr_matrix  # (n_spots, n_genes) float32 whole numbers

    @classmethod
    def of(cls, adata: AnnData, domain_key: str, use_rep: str, layer: str | None) -> "CountHalves":
        """Return the model that the record of the domains names, and the counts; raise if counts cannot be split."""
        records = provenance(adata)
        facts = records.get(domain_key, {})
        method = facts.get("model")
        if method not in DOMAIN_MODELS or facts.get("use_rep") != use_rep or method not in records:
            raise NoCountsToSplitError(f"the record of obs[{domain_key!r}] does not name the model that found it")
        if records[method].get("n_genes", 0) == 0:
            raise NoCountsToSplitError("the domains were not found from genes")
        if records.get("integration", {}).get("links") == "stitched":
            raise NoCountsToSplitError("the sections were stitched, and their spots are places of several sections")
        kind = DOMAIN_MODELS.load(method)
        config = {name: _plain(value) for name, value in records[method]["config"].items()}
        try:
            source = expression(adata, layer)
        except (KeyError, ValueError) as error:
            raise NoCountsToSplitError(message_of(error)) from error
        counts = source.in_memory
        if source.scale != "counts" or (counts.data != np.rint(counts.data)).any():
            raise NoCountsToSplitError(f"{source.name} does not hold raw counts; {argument('layer')} names a layer")
        return cls(kind, kind.config_class.from_dict(config), counts)

    def embeddings(
        self, adata: AnnData, n_splits: int, *, spatial_key: str, section_key: str | None, seed: int
    ) -> Iterator[np.ndarray]:
        """Yield the embedding of each half, ``(n_spots, n_latent)``, two for each split.

        Counts are thinned binomially: the halves of Poisson counts are independent (Neufeld et al.).
        """
        rng = np.random.default_rng(seed)
        keys: dict[str, Any] = {"spatial_key": spatial_key, "section_key": section_key}
        graph = self.kind(self.config).graph(adata, **keys)
        links = adata.obsp.get(Keys.SECTION_LINKS) if section_key is not None else None
        whole = self.counts.data.astype(np.int64)
        for _ in range(n_splits):
            first = rng.binomial(whole, 0.5)
            for values in (first, whole - first):
                half = self._half(adata, values, section_key)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of spots and genes that lost all of their few counts
                    model = self.kind(self.config)
                    fit = model.fit_run(half, made=Made(graph), links=links, seed=seed, progress=False, **keys)
                yield fit.embedding

    def _half(self, adata: AnnData, values: np.ndarray, section_key: str | None) -> AnnData:
        """Return the sections with other counts."""
        counts = csr_matrix((values.astype(np.float32), self.counts.indices, self.counts.indptr), self.counts.shape)
        counts = counts.copy()
        counts.eliminate_zeros()
        obs = adata.obs[[] if section_key is None else [section_key]]
        return AnnData(counts, obs=obs, var=pd.DataFrame(index=adata.var_names), obsm=dict(adata.obsm))


def too_costly(adata: AnnData, domain_key: str) -> str:
    """Return why counts are split on request only; empty if they are by default, too."""
    method = provenance(adata).get(domain_key, {}).get("model")
    if adata.n_obs > _MOST_SPOTS:
        return f"it takes long for more than {_MOST_SPOTS:,} spots"
    if method in DOMAIN_MODELS and DOMAIN_MODELS.load(method).has_network:
        return "a network would be trained for each half"
    return ""


def _plain(value: Any) -> Any:
    """Return a setting as JSON would hold it; a file gives arrays and numpy's numbers."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
