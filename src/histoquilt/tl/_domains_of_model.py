"""Fitting, clustering and naming of domains, shared by one section and a study."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from anndata import AnnData
from scipy.sparse import csr_matrix

import histoquilt
from histoquilt._base import Keys, argument, check_n_domains
from histoquilt.cluster import (
    NamedMixture,
    check_all_found,
    ensemble_probability,
    fit_merged,
    fit_mixture,
    name_by_position,
    potts_labels,
    spatial_sample,
)
from histoquilt.gr import SpatialGraph
from histoquilt.models import DomainModel, Embedded, Made
from histoquilt.runtime import logger, stage
from histoquilt.study import declare_scale, keep_foreign, provenance, spot_centres, write_result
from histoquilt.tl._choose import choose_n_domains
from histoquilt.tl._refine import direct_neighbours, majority_codes
from histoquilt.tl.nested._earlier import remove_levels, remove_own, remove_stability
from histoquilt.tl.nested._other_labeling import write_mixture_labels

if TYPE_CHECKING:
    import torch

NumberOfDomains = int | tuple[int, int] | None
Clustering = Literal["mixture", "merge"]
Refinement = bool | Literal["majority", "potts"]  # True for "majority"

_SEARCHED = (2, 15)
_STARTS_OF_ONE_NETWORK = 10  # its mixture only serves the confidence


def check_search(n_domains: NumberOfDomains, clustering: Clustering, refine: Refinement, n_spots: int) -> None:
    """Raise unless ``n_domains`` is a number, a range to search, or None, and the other two are known."""
    if not isinstance(refine, bool | np.bool_) and refine not in ("majority", "potts"):
        raise ValueError(f"refine must be 'majority' (or True), 'potts' or False, got {refine!r}.")
    if clustering not in get_args(Clustering):
        known = " or ".join(map(repr, get_args(Clustering)))
        raise ValueError(f"{argument('clustering')} must be {known}, got {clustering!r}.")
    if isinstance(n_domains, tuple):
        whole = all(isinstance(k, int | np.integer) and not isinstance(k, bool) for k in n_domains)
        if not (whole and len(n_domains) == 2 and 2 <= n_domains[0] <= n_domains[1]):
            raise ValueError(f"A range of n_domains is two whole numbers from 2 up, e.g. (5, 12), got {n_domains!r}.")
        check_n_domains(n_domains[1], n_spots)
    elif n_domains is not None:
        check_n_domains(n_domains, n_spots)


@dataclass(frozen=True, kw_only=True)
class DomainSearch:
    """One search for domains: the model, what is asked of it, and where the results go."""

    model: DomainModel
    n_domains: NumberOfDomains
    genes: Sequence[str] | None  # genes to denoise: empty for all that are modelled, None for none
    layer: str | None
    use_rep: str | None
    refine: Refinement
    clustering: Clustering
    key_added: str
    embedding_key: str
    seed: int
    device: "str | torch.device"
    progress: bool

    def run(
        self,
        adata: AnnData,
        made: Made,
        *,
        spatial_key: str,
        section_key: str | None,
        links: csr_matrix | None = None,
    ) -> None:
        """Train the model and write embedding, domains and denoised expression.

        The denoised expression of an earlier run is removed, since it would not belong to these domains.
        """
        keys: dict[str, Any] = {"spatial_key": spatial_key, "section_key": section_key}
        with stage("model"):
            outputs = self.model.fit_run(
                adata, made=made, layer=self.layer, use_rep=self.use_rep, links=links, seed=self.seed,
                device=self.device, progress=self.progress, **keys,
            )  # fmt: skip
        with stage("denoise"):
            denoised = None if self.genes is None else self.model.denoise_outputs(adata, outputs, self.genes or None)
        _name(adata, outputs, self, made.graph if self.refine else None, **keys)
        keep_foreign(adata, "obsm", Keys.DENOISED)
        adata.obsm.pop(Keys.DENOISED, None)
        provenance(adata).get(Keys.SCALE, {}).pop(Keys.DENOISED, None)
        if denoised is not None:
            write_result(adata, "obsm", Keys.DENOISED, denoised)
            declare_scale(adata, Keys.DENOISED, "log1p_cp10k")


def _refined(
    gaussians: np.ndarray, near: csr_matrix, k: int, search: DomainSearch, outputs: Embedded
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the refined labels by direct neighbours, and what is recorded of the refinement."""
    if search.refine != "potts":
        return majority_codes(gaussians, near, k), {}
    embedding = outputs.embedding if outputs.less_smoothed is None else outputs.less_smoothed()
    field = potts_labels(embedding, gaussians, near, k, n_components=search.model.n_components)
    return field.labels, {"potts_beta": field.beta}


def _name(
    adata: AnnData,
    outputs: Embedded,
    search: DomainSearch,
    refine_by: SpatialGraph | None,
    *,
    spatial_key: str,
    section_key: str | None,
) -> None:
    """Cluster the embedding of the spots that a model was trained on; keep the named mixture in ``model.domains``.

    Writes ``obs[key_added]``, ``obs[f"{key_added}_confidence"]``, ``obsm[embedding_key]`` and the records of model and
    domains in ``uns["histoquilt"]``. Confidence is the posterior probability of the domain; with several networks, in
    the mean over mixtures fitted to the embedding of each.
    """
    model, n_domains, seed = search.model, search.n_domains, search.seed
    key_added, embedding_key = search.key_added, search.embedding_key
    write_result(adata, "obsm", embedding_key, outputs.embedding)
    n_components = model.n_components
    searched = n_domains is None or isinstance(n_domains, tuple)
    k = _number(adata, n_domains, embedding_key, n_components, seed)
    spatial = np.asarray(spot_centres(adata, spatial_key), dtype=float)
    sections = None if section_key is None else adata.obs[section_key].astype(str).to_numpy()
    sample = spatial_sample(adata.n_obs, spatial, sections, seed=seed)
    clustered: dict[str, Any] = {"n_components": n_components, "sample": sample, "seed": seed}
    fit, default = fit_mixture(outputs.embedding, k, **clustered), None
    if search.clustering == "merge":
        default, fit = fit.labels, fit_merged(outputs.embedding, k, **clustered)
    check_all_found(fit.labels, k)
    assert fit.mixture is not None
    facts: dict[str, Any] = {
        "method": "mixture EEE" if default is None else "merged mixtures EEE",
        "model": model.method,
        "n_domains": k,
        "chosen": searched,
        "use_rep": embedding_key,
        "seed": int(seed),
        "refined": refine_by is not None,
        "n_components": n_components,
        "n_networks": len(outputs.of_networks),
        "n_spots_fitted": fit.n_fitted,
    }
    gaussians = fit.labels
    if refine_by is not None:
        near, facts["refine_neighbors"] = direct_neighbours(refine_by, spatial)
        default = None if default is None else majority_codes(default, near, k)
        gaussians, of_refinement = _refined(gaussians, near, k, search, outputs)
        facts |= of_refinement
    # named last: refinement moves spots, and names tell the order of the domains on the tissue
    named = name_by_position(gaussians, spatial)
    remove_levels(adata, f"{key_added}_tree")
    remove_stability(adata, key_added)
    remove_own(adata, f"{key_added}_mixture")
    write_result(adata, "obs", key_added, named)
    provenance(adata)[key_added] = facts
    if default is not None:
        facts["agreement_with_mixture"] = write_mixture_labels(adata, key_added, named, default)
    names = [str(named[np.flatnonzero(gaussians == gaussian)[0]]) for gaussian in range(k)]
    model.domains = NamedMixture(fit.mixture, names)
    probabilities = [fit.probabilities]
    if len(outputs.of_networks) > 1 and default is None:
        clustered["n_starts"] = _STARTS_OF_ONE_NETWORK
        probabilities = [fit_mixture(one, k, **clustered).probabilities for one in outputs.of_networks]
    write_result(adata, "obs", f"{key_added}_confidence", ensemble_probability(gaussians, probabilities))
    _record_model(adata, model)


def _number(adata: AnnData, asked: NumberOfDomains, embedding_key: str, n_components: int, seed: int) -> int:
    """Return the given number of domains, or choose one from a range."""
    if isinstance(asked, int | np.integer):
        return int(asked)
    low, high = asked or _SEARCHED
    if asked is None:
        high = max(low, min(high, adata.n_obs // 8))  # a sub-sample of a small section bears no more
    chosen = choose_n_domains(adata, use_rep=embedding_key, n_domains=(low, high), n_components=n_components, seed=seed)
    logger.info("n_domains was not given; %d of %d to %d chosen by stability.", chosen, low, high)
    return chosen


def _record_model(adata: AnnData, model: DomainModel) -> None:
    settings = model.config.to_dict()
    config = {key: list(one) if isinstance(one, tuple) else one for key, one in settings.items() if one is not None}
    provenance(adata)[model.method] = {
        "version": histoquilt.__version__,
        "config": config,
        "n_genes": len(model.genes),
        **model.training_facts,
    }
