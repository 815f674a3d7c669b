"""Base of the domain models that start from features and a spatial graph."""

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix

import histoquilt
from histoquilt._base import Keys
from histoquilt.gr import SpatialGraph, build_graph, union_links
from histoquilt.io import check_one_section
from histoquilt.models._checkpoint import Checkpoint, digest
from histoquilt.models._domain_model import DomainModel, Embedded
from histoquilt.models.domains._feature_config import FeatureConfig
from histoquilt.models.domains._features import SectionFeatures
from histoquilt.models.domains._section_offsets import SectionOffsets
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.pp import Scaling, row_chunks
from histoquilt.runtime import atomic_file, resolve_device
from histoquilt.study import check_adata, provenance, spot_centres, write_result
from histoquilt.train import strip_prefix

_FEATURES, _OFFSETS, _LEARNT = "features", "offsets", "learnt"


@dataclass(frozen=True)
class Tissue:
    """Where the spots of one or several sections are.

    Attributes
    ----------
    adjacency
        ``(n_spots, n_spots)`` CSR, symmetric, no self loops.
    centres
        ``(n_spots, >= 2)`` spot centres.
    sections
        ``(n_spots,)`` section of every spot; ``None`` for a single one.
    """

    adjacency: csr_matrix
    centres: np.ndarray
    sections: np.ndarray | None


@dataclass(frozen=True)
class Made:
    """Graph and features of sections, made once and shared by the models that are fitted on them.

    Attributes
    ----------
    graph
        Spatial graph of the spots, without links between sections.
    features
        Settings of :class:`SectionFeatures` -> the fitted steps, the features and the scaling of the genes; ``None`` if
        they need not be kept.
    """

    graph: SpatialGraph
    features: dict[Any, tuple[SectionFeatures, np.ndarray, Scaling | None]] | None = None


@dataclass(frozen=True)
class Outputs(Embedded):
    """Spots as a model embeds them, and the reconstruction from which expression is denoised.

    Attributes
    ----------
    reconstruction
        ``(n_spots, n)``, in the space of the method.
    row_scale
        ``(n_spots,)`` length of each spot's features relative to the common length.
    scaling
        Scaling of the sections' genes; ``None`` if features were not made from genes.
    """

    reconstruction: np.ndarray
    row_scale: np.ndarray
    scaling: Scaling | None = None


@dataclass(frozen=True)
class Fitted:
    """Fitted parts of a model.

    Attributes
    ----------
    features
        Conversion of a section to features.
    learnt
        Fitted state of the method.
    layer, spatial_key, section_key
        Keys of expression, spot centres and section names in the training sections.
    offsets
        Section effects in the embedding; ``None`` if there was one section, or none are removed.
    """

    features: SectionFeatures
    learnt: Any
    layer: str | None
    spatial_key: str
    section_key: str | None
    offsets: SectionOffsets | None = None


class FeatureModel(DomainModel):
    """Base of domain models that start from features and a spatial graph.

    A method writes :meth:`learn`, :meth:`apply`, :meth:`to_features`, :meth:`learnt_state` and :meth:`restore_learnt`.

    Parameters
    ----------
    config
        Settings; by default those of the method.
    """

    config: FeatureConfig
    denoises = True

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._fitted: Fitted | None = None

    # what a method writes

    @abstractmethod
    def learn(
        self, features: np.ndarray, tissue: Tissue, *, seed: int, device: torch.device, progress: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Return what the method learns from features, ``(n_spots, n_features)`` float32, and facts of training."""

    @abstractmethod
    def apply(self, learnt: Any, features: np.ndarray, tissue: Tissue) -> Outputs:
        """Return embedding and reconstruction of spots."""

    @abstractmethod
    def to_features(self, learnt: Any, reconstruction: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
        """Return the features that a reconstruction stands for, ``(n_spots, n_features)``."""

    @abstractmethod
    def learnt_state(self, learnt: Any) -> MethodState:
        """Return what the method learnt, for :meth:`save`."""

    @abstractmethod
    def restore_learnt(self, state: MethodState, n_features: int) -> Any:
        """Rebuild what the method learnt from :meth:`learnt_state`."""

    @abstractmethod
    def embedding_width(self, n_features: int) -> int:
        """Return the largest width that the embedding can have."""

    @abstractmethod
    def working_bytes(self, n_spots: int, n_features: int) -> int:
        """Return the bytes that learning and outputs take at their peak, beside the features."""

    # what follows from that

    def fit(
        self,
        adata: AnnData,
        *,
        layer: str | None = None,
        use_rep: str | None = None,
        spatial_key: str = Keys.SPATIAL,
        section_key: str | None = None,
        links: csr_matrix | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        progress: bool = True,
    ) -> Self:
        """Train on one or several sections; ``adata`` is not changed.

        Parameters
        ----------
        adata
            AnnData ``(n_spots, n_genes)``; raw counts in ``layers["counts"]`` or ``X``, or a matrix declared
            ``log1p_cp10k``; ``obsm[spatial_key]`` holds spot centres.
        layer
            Layer with the expression, instead of the above.
        use_rep
            Embedding in ``obsm`` that replaces the features made from genes; denoising is then not possible.
        spatial_key
            Key in ``obsm`` of the spot centres.
        section_key
            Column of ``obs`` that distinguishes sections; spots of two sections are neighbours by ``links`` only, and
            genes are scaled within each section.
        links
            Additional neighbours, ``(n_spots, n_spots)`` CSR, symmetric, as found by
            :func:`histoquilt.gr.stack_links` and :func:`histoquilt.gr.mutual_nearest_links`.
        seed
            Random seed; features do not depend on it.
        device
            Device to train networks on; ``"auto"`` uses a GPU if available.
        progress
            If true, show a progress bar on stderr.

        Returns
        -------
        The trained model itself. ``training_facts`` holds seed, seconds, and what the method records.

        Raises
        ------
        KeyError
            ``layer``, ``use_rep``, ``spatial_key`` or ``section_key`` is missing.
        ValueError
            There are fewer than 3 spots, coordinates are not finite or all equal, or the expression is neither raw
            counts nor declared; or there are several sections in one frame, and no ``section_key``.
        """
        keys: dict[str, Any] = {"layer": layer, "use_rep": use_rep, "spatial_key": spatial_key}
        self.fit_run(adata, **keys, section_key=section_key, links=links, seed=seed, device=device, progress=progress)
        return self

    def fit_run(  # type: ignore[override]  # the names of the options
        self,
        adata: AnnData,
        *,
        made: Made | None = None,
        links: csr_matrix | None = None,
        layer: str | None = None,
        use_rep: str | None = None,
        spatial_key: str = Keys.SPATIAL,
        section_key: str | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        progress: bool = True,
    ) -> Outputs:
        """Train as :meth:`fit` does, and return what :meth:`run` says of the same sections; features are made once."""
        check_adata(adata)
        if made is None and section_key is None:
            check_one_section(adata, spatial_key=spatial_key)
        started = time.perf_counter()
        torch_device = resolve_device(device, sparse=True) if self.has_network else torch.device("cpu")
        graph = made.graph if made else self.graph(adata, spatial_key=spatial_key, section_key=section_key)
        tissue = _tissue(adata, graph, spatial_key, section_key, links)
        sections = tissue.sections if self.config.scale_by_section else None
        features, values, scaling = self._features(adata, made, layer, use_rep, sections)
        learnt, facts = self.learn(values, tissue, seed=seed, device=torch_device, progress=progress)
        outputs = replace(self.apply(learnt, values, tissue), scaling=scaling)
        names = [] if tissue.sections is None else sorted(set(tissue.sections.tolist()))
        offsets = None
        if tissue.sections is not None and self.config.match_sections and len(names) > 1:
            offsets, moved = SectionOffsets.fit(outputs.embedding, tissue.sections, seed=seed)
            outputs = replace(outputs, embedding=moved)
        self.domains = None
        self._fitted = Fitted(features, learnt, layer, spatial_key, section_key, offsets)
        self.training_facts = {
            "seed": seed,
            "sections": names,
            "digest": digest(adata, values, spatial_key),
            "n_spots": adata.n_obs,
            "n_features": values.shape[1],
            **facts,
            "wall_s": time.perf_counter() - started,
        }
        return outputs

    def run(self, adata: AnnData, links: csr_matrix | None = None) -> Outputs:
        """Return embedding and reconstruction of sections, from which domains and denoised expression follow.

        Parameters
        ----------
        adata
            Sections, trained on or not, with the genes of training.
        links
            Edges between spots of different sections, ``(n_spots, n_spots)``, as in :meth:`fit`.
        """
        check_adata(adata)
        fitted = self.fitted
        section_key = fitted.section_key if fitted.section_key in adata.obs else None
        if section_key is None and fitted.section_key is not None:
            check_one_section(adata, spatial_key=fitted.spatial_key)
        graph = self.graph(adata, spatial_key=fitted.spatial_key, section_key=section_key)
        tissue = _tissue(adata, graph, fitted.spatial_key, section_key, links)
        features, scaling = fitted.features.transform(adata, fitted.layer, tissue.sections)
        outputs = replace(self.apply(fitted.learnt, features, tissue), scaling=scaling)
        if fitted.offsets is None:
            return outputs
        named = np.zeros(adata.n_obs, int) if tissue.sections is None else tissue.sections
        return replace(outputs, embedding=fitted.offsets.transform(outputs.embedding, named))

    def embed(
        self, adata: AnnData, *, links: csr_matrix | None = None, out: str | PathLike[str] | None = None
    ) -> np.ndarray:
        """Return the embedding of one or several sections, trained on or not, ``(n_spots, n_latent)`` float32.

        Genes that the model knows and the section lacks count as average.

        Parameters
        ----------
        adata
            As for :meth:`fit`; sections are distinguished by the column that ``fit`` was given, if it is there.
        links
            As for :meth:`fit`.
        out
            Path of a ``.npy`` file for the embedding, written atomically; the array that is returned stays there
            (``numpy.memmap``, read-only). An earlier file is replaced.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            Fewer than half of the modelled genes are there, ``out`` is no ``.npy``, or there are several sections in
            one frame without the column that ``fit`` was given.

        Warns
        -----
        UserWarning
            Some of them are missing.
        """
        path = None if out is None else Path(out).expanduser()
        if path is None:
            return self.run(adata, links).embedding
        if path.suffix != ".npy":
            raise ValueError(f"out= names the .npy file that the embedding goes to, got {str(path)!r}: embedding.npy?")
        embedding = self.run(adata, links).embedding
        with atomic_file(path) as beside, beside.open("wb") as stream:
            np.save(stream, embedding)
        return np.load(path, mmap_mode="r")

    def denoise(
        self, adata: AnnData, genes: Sequence[str] | None = None, *, links: csr_matrix | None = None
    ) -> pd.DataFrame:
        """Return denoised expression, log1p of counts per 10,000, ``(n_spots, n_genes)`` float32.

        Parameters
        ----------
        adata, links
            As for :meth:`embed`.
        genes
            Modelled genes to return; all by default.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            The model was fitted on an embedding (``use_rep``), or too few modelled genes are there.
        KeyError
            A gene was not modelled.
        """
        return self.denoise_outputs(adata, self.run(adata, links), genes)

    def denoise_outputs(self, adata: AnnData, outputs: Outputs, genes: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the denoised expression in what :meth:`run` returned, as :meth:`denoise` does."""
        fitted = self.fitted
        steps = fitted.features.genes
        if steps is None or outputs.scaling is None:
            raise ValueError(
                f"The model was fitted on obsm[{fitted.features.use_rep!r}], not on genes, so it cannot denoise "
                "expression. Fit it on counts (use_rep=None)."
            )
        named = steps.genes if genes is None else list(genes)
        values = np.empty((adata.n_obs, len(named)), np.float32)
        for rows in row_chunks(adata.n_obs, max(fitted.features.n_features, len(steps.genes))):
            features = self.to_features(fitted.learnt, outputs.reconstruction[rows], outputs.row_scale[rows])
            values[rows] = steps.inverse(features, outputs.scaling.of_rows(rows), named)
        return pd.DataFrame(values, index=adata.obs_names, columns=named)

    def assign_domains(
        self,
        adata: AnnData,
        *,
        links: csr_matrix | None = None,
        key_added: str = Keys.DOMAIN,
        embedding_key: str = Keys.EMBEDDING,
    ) -> None:
        """Give the spots of sections that the model has not seen the domains that it knows.

        Nothing is fitted: the trained model embeds the spots, the fitted mixture names them.
        :func:`histoquilt.tl.refine_domains` smooths the result where that is wanted.

        Parameters
        ----------
        adata, links
            As for :meth:`embed`.
        key_added, embedding_key
            Where domains and embedding go.

        Returns
        -------
        None. Adds to ``adata``:

        ``obs[key_added]`` : categorical with all domains of the model, also those that no spot gets
        ``obs[f"{key_added}_confidence"]`` : float, 0 to 1, posterior probability of the domain
        ``obsm[embedding_key]`` : float32 ``(n_spots, n_latent)``
        ``uns["histoquilt"][key_added]`` : how, with the counts of genes ``shared``, ``missing`` and ``filled``

        Raises
        ------
        RuntimeError
            The model is not trained, or has no domains yet.
        ValueError
            Fewer than half of the modelled genes are there.
        """
        check_adata(adata)
        if self.fitted is not None and self.domains is None:
            raise RuntimeError(
                f"This {type(self).__name__} has no domains to assign. Find them where it is trained: "
                "histoquilt.tl.spatial_domains(adata, n_domains, model=model)."
            )
        embedding = self.embed(adata, links=links)
        probabilities = self.domains.mixture.probabilities(embedding)
        names = np.array(self.domains.names)[probabilities.argmax(axis=1)]
        domains = pd.Categorical(names, categories=sorted(self.domains.names, key=int))
        write_result(adata, "obsm", embedding_key, embedding)
        write_result(adata, "obs", key_added, domains)
        write_result(adata, "obs", f"{key_added}_confidence", probabilities.max(axis=1))
        provenance(adata)[key_added] = {
            "method": "assigned by a trained model",
            "model_digest": self.training_facts["digest"],
            "trained_on": ", ".join(self.training_facts["sections"]),
            "version": histoquilt.__version__,
            "n_domains": len(self.domains.names),
            "use_rep": embedding_key,
            "refined": False,
            "genes": {name: len(genes) for name, genes in self.compare_genes(adata).items()},
        }

    def compare_genes(self, adata: AnnData) -> dict[str, list[str]]:
        """Return which modelled genes a section shares, which it is missing, and which are filled with the average.

        Missing and filled are the same genes; where fewer than half are shared, none is filled, since :meth:`embed`
        refuses. All are empty where the model was fitted on an embedding.
        """
        steps = self.fitted.features.genes
        missing = [] if steps is None else steps.missing_genes([str(gene) for gene in adata.var_names])
        absent = set(missing)
        shared = [gene for gene in self.genes if gene not in absent]
        fills = steps is not None and steps.shares_enough(missing)
        return {"shared": shared, "missing": missing, "filled": list(missing) if fills else []}

    @property
    def genes(self) -> list[str]:
        """The modelled genes, in order; empty where the model was fitted on an embedding."""
        steps = self.fitted.features.genes
        return [] if steps is None else steps.genes

    @property
    def fitted(self) -> Fitted:
        """What training left behind; raises ``RuntimeError`` before :meth:`fit`."""
        if self._fitted is None:
            name = type(self).__name__
            raise RuntimeError(f"This {name} is not trained. Call .fit(adata), or histoquilt.models.load(folder).")
        return self._fitted

    def state(self) -> MethodState:
        """Return what was learnt, for :meth:`save`."""
        fitted = self.fitted
        learnt = self.learnt_state(fitted.learnt)
        parts = {_FEATURES: fitted.features.arrays(), _LEARNT: learnt.arrays}
        if fitted.offsets is not None:
            parts[_OFFSETS] = vars(fitted.offsets)
        keys = {"layer": fitted.layer, "spatial_key": fitted.spatial_key, "section_key": fitted.section_key}
        return MethodState(
            learnt.weights,
            {f"{part}.{name}": value for part, arrays in parts.items() for name, value in arrays.items()},
            {"keys": keys, _FEATURES: fitted.features.settings(), _LEARNT: learnt.settings},
        )

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, device: torch.device) -> Self:
        """Rebuild a trained model; called by :func:`histoquilt.models.load`."""
        method = {**checkpoint.config["method"], "genes": checkpoint.genes}  # kept in a file of their own
        return super().from_checkpoint(replace(checkpoint, config={**checkpoint.config, "method": method}), device)

    def restore(self, state: MethodState) -> None:
        """Take back what :meth:`state` gave."""
        settings = state.settings
        features = SectionFeatures.restore(
            settings[_FEATURES], strip_prefix(state.arrays, _FEATURES), settings["genes"]
        )
        learnt = self.restore_learnt(
            MethodState(state.weights, strip_prefix(state.arrays, _LEARNT), settings[_LEARNT]), features.n_features
        )
        offsets = SectionOffsets(**parts) if (parts := strip_prefix(state.arrays, _OFFSETS)) else None
        self._fitted = Fitted(features, learnt, **settings["keys"], offsets=offsets)

    def __repr__(self) -> str:
        name = type(self).__name__
        if self._fitted is None:
            return f"{name}(not trained)"
        source = f"{len(self.genes):,} genes" if self.genes else f"obsm[{self._fitted.features.use_rep!r}]"
        domains = "" if self.domains is None else f", {len(self.domains.names)} domains"
        return f"{name}(trained on {source}{domains})"

    def graph(self, adata: AnnData, *, spatial_key: str = Keys.SPATIAL, section_key: str | None = None) -> SpatialGraph:
        """Return the graph that the config asks for, of the nearest neighbours or of a radius."""
        if adata.n_obs < 3:
            raise ValueError(f"The section has {adata.n_obs} of the 3 spots that a graph of neighbours needs at least.")
        keys: dict[str, Any] = {"spatial_key": spatial_key, "section_key": section_key}
        if self.config.radius is not None:
            return build_graph(adata, radius=self.config.radius, **keys)
        return build_graph(adata, n_neighbors=self.config.n_neighbors, **keys)

    def _features(
        self, adata: AnnData, made: Made | None, layer: str | None, use_rep: str | None, sections: np.ndarray | None
    ) -> tuple[SectionFeatures, np.ndarray, Scaling | None]:
        """Fit features, or take those that were made with the same settings before."""
        kept = made.features if made else None
        key = (*SectionFeatures.settings_of(self.config), layer, use_rep, sections is not None)
        if kept is not None and key in kept:
            return kept[key]
        found = SectionFeatures.fit(adata, self.config, layer=layer, use_rep=use_rep, sections=sections)
        if kept is not None:
            kept[key] = found
        return found


def _tissue(
    adata: AnnData, graph: SpatialGraph, spatial_key: str, section_key: str | None, links: csr_matrix | None
) -> Tissue:
    """Return where spots are, and the graph joined with links between sections."""
    adjacency = graph.connectivities
    sections = None if section_key is None else adata.obs[section_key].astype(str).to_numpy()
    if links is not None:
        adjacency = union_links(adjacency, links)
        _check_undirected(adjacency)
    return Tissue(adjacency, spot_centres(adata, spatial_key), sections)


def _check_undirected(adjacency: csr_matrix) -> None:
    pattern = csr_matrix((np.ones(adjacency.nnz, np.int8), adjacency.indices, adjacency.indptr), adjacency.shape)
    if pattern.diagonal().any():
        raise ValueError("The adjacency stores self loops; remove them, the model adds its own.")
    if (pattern != pattern.T).nnz:
        raise ValueError("The adjacency is directed; symmetrise it first, e.g. adjacency.maximum(adjacency.T).")
