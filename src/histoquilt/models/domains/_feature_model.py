"""Base of the domain models that start from features and a spatial graph."""

import time
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

import histoquilt
from histoquilt._base import Keys
from histoquilt.gr import SpatialGraph, build_graph, union_links, weigh_links
from histoquilt.io import check_one_section
from histoquilt.models._checkpoint import Checkpoint, digest
from histoquilt.models._domain_model import DomainModel, Embedded
from histoquilt.models.domains._feature_config import FeatureConfig
from histoquilt.models.domains._features import SectionFeatures
from histoquilt.models.domains._image_block import ImageBlock
from histoquilt.models.domains._section_offsets import SectionOffsets
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.pp import Scaling, row_chunks
from histoquilt.runtime import atomic_file, resolve_device, stage, warn_user
from histoquilt.study import check_adata, provenance, spot_centres, write_result
from histoquilt.train import strip_prefix

if TYPE_CHECKING:
    import torch

_FEATURES, _OFFSETS, _LEARNT = "features", "offsets", "learnt"


@dataclass(frozen=True)
class Tissue:
    """Spatial graph and coordinates of one or several sections."""

    adjacency: csr_matrix  # (n_spots, n_spots) weights of links, ones if they are equal; symmetric, no self loops
    centres: np.ndarray  # (n_spots, >= 2)
    sections: np.ndarray | None  # (n_spots,) names; None for a single section


@dataclass(frozen=True)
class Made:
    """Graph and features of sections, computed once and shared by the models fitted on them.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=1)
    >>> made = hq.models.Made(hq.models.AveragedPCs().graph(adata), features={})
    >>> for n_averagings in (1, 2):
    ...     model = hq.models.AveragedPCs(hq.models.AveragedPCsConfig(n_averagings=n_averagings))
    ...     outputs = model.fit_run(adata, made=made)
    >>> len(made.features)  # both models use the same
    1
    """

    graph: SpatialGraph  # without links between sections
    # by feature settings: what SectionFeatures.fit returned; None if it need not be kept
    features: dict[Any, tuple[SectionFeatures, np.ndarray, Scaling | None]] | None = None


@dataclass(frozen=True)
class Outputs(Embedded):
    """Embedding of spots, and the reconstruction from which expression is denoised.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=1)
    >>> outputs = hq.models.AveragedPCs().fit(adata).run(adata)
    >>> len(outputs.embedding), len(outputs.reconstruction), len(outputs.row_scale)
    (120, 120, 120)
    """

    reconstruction: np.ndarray  # (n_spots, n), in the space of the method
    row_scale: np.ndarray  # (n_spots,) length of each spot's features relative to the common length
    scaling: Scaling | None = None  # of the sections' genes; None if features were not made from genes


@dataclass(frozen=True)
class Fitted:
    """Fitted state of a model, and the keys of its training sections."""

    features: SectionFeatures
    learnt: Any  # state of the method
    layer: str | None
    spatial_key: str
    section_key: str | None
    offsets: SectionOffsets | None = None  # None if section effects are not removed


class FeatureModel(DomainModel):
    """Base class of domain models that start from features and a spatial graph.

    A subclass implements :meth:`learn`, :meth:`apply`, :meth:`to_features`, :meth:`learnt_state`,
    :meth:`restore_learnt`, :meth:`embedding_width` and :meth:`working_bytes`. ``config`` are its settings.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=1)
    >>> model = hq.models.SpatialFactors().fit(adata)  # a subclass
    >>> model.denoise(adata, model.genes[:3]).shape
    (120, 3)
    """

    config: FeatureConfig
    denoises = True
    weighs_links = False  # True if the method honours the weights of Tissue.adjacency

    def __init__(self, config: Any = None) -> None:
        super().__init__(config)
        self._fitted: Fitted | None = None

    # implemented by a method

    @abstractmethod
    def learn(
        self, features: np.ndarray, tissue: Tissue, *, seed: int, device: "str | torch.device", progress: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Fit to features, ``(n_spots, n_features)`` float32; return the fitted state and facts of training.

        The device is ``"cpu"`` for models without a network.
        """

    @abstractmethod
    def apply(self, learnt: Any, features: np.ndarray, tissue: Tissue) -> Outputs:
        """Return the embedding and reconstruction of spots."""

    @abstractmethod
    def to_features(self, learnt: Any, reconstruction: np.ndarray, row_scale: np.ndarray) -> np.ndarray:
        """Convert a reconstruction to features, ``(n_spots, n_features)``."""

    @abstractmethod
    def learnt_state(self, learnt: Any) -> MethodState:
        """Return the fitted state, for :meth:`save`."""

    @abstractmethod
    def restore_learnt(self, state: MethodState, n_features: int) -> Any:
        """Rebuild the fitted state from :meth:`learnt_state`."""

    @abstractmethod
    def embedding_width(self, n_features: int) -> int:
        """Return the largest possible width of the embedding."""

    @abstractmethod
    def working_bytes(self, n_spots: int, n_features: int) -> int:
        """Return the peak memory of fitting and outputs in bytes, not counting the features."""

    # provided by this class

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
        device: "str | torch.device" = "auto",
        progress: bool = True,
    ) -> Self:
        """Train on one or several sections; ``adata`` is not changed.

        Parameters
        ----------
        adata
            AnnData ``(n_spots, n_genes)`` with raw counts in ``layers["counts"]`` or ``X``, or a matrix declared
            ``log1p_cp10k``; spot centres in ``obsm[spatial_key]``.
        layer
            Layer with the expression, instead of the above.
        use_rep
            Embedding in ``obsm`` to use as features instead of genes; denoising is then not possible.
        spatial_key
            Key in ``obsm`` of the spot centres.
        section_key
            Column of ``obs`` with the section of each spot; by default a single section. Spots of different sections
            are neighbours only by ``links``.
        links
            Neighbours in other sections, ``(n_spots, n_spots)`` symmetric CSR, from :func:`histoquilt.gr.stack_links`
            or :func:`histoquilt.gr.mutual_nearest_links`.
        seed
            Random seed.
        device
            Device for networks; ``"auto"`` uses a GPU if available.
        progress
            If true, show a progress bar on stderr.

        Raises
        ------
        KeyError
            ``layer``, ``use_rep``, ``spatial_key`` or ``section_key`` is missing.
        ValueError
            There are fewer than 3 spots, coordinates are not finite or all equal, the expression is neither raw counts
            nor declared, or ``adata`` holds several sections and there is no ``section_key``.
        """
        self.fit_run(
            adata, layer=layer, use_rep=use_rep, spatial_key=spatial_key, section_key=section_key, links=links,
            seed=seed, device=device, progress=progress,
        )  # fmt: skip
        return self

    def fit_run(  # type: ignore[override]
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
        device: "str | torch.device" = "auto",
        progress: bool = True,
    ) -> Outputs:
        """Train as :meth:`fit` does, and return the outputs of :meth:`run` without computing features again."""
        check_adata(adata)
        if made is None and section_key is None:
            check_one_section(adata, spatial_key=spatial_key)
        started = time.perf_counter()
        of_networks = resolve_device(device, sparse=True) if self.has_network else "cpu"
        graph = made.graph if made else self.graph(adata, spatial_key=spatial_key, section_key=section_key)
        tissue = _tissue(adata, graph, spatial_key, section_key, links)
        sections = tissue.sections if self.config.scale_by_section else None
        features, values, scaling = self._features(adata, made, layer, use_rep, sections, graph)
        learnt, facts = self.learn(values, tissue, seed=seed, device=of_networks, progress=progress)
        outputs = replace(self.apply(learnt, values, tissue), scaling=scaling)
        names = [] if tissue.sections is None else sorted(set(tissue.sections.tolist()))
        offsets = None
        if tissue.sections is not None and self.config.match_sections and len(names) > 1:
            offsets, moved = SectionOffsets.fit(outputs.embedding, tissue.sections, seed=seed)
            outputs = replace(outputs, embedding=moved, less_smoothed=None)  # which has the offsets
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
        """Return embedding and reconstruction of sections; arguments as for :meth:`embed`."""
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
        """Return the embedding of one or several sections, ``(n_spots, n_latent)`` float32.

        Parameters
        ----------
        adata
            Sections, used in training or not; modelled genes that are missing are filled with their average.
        links
            Neighbours in other sections, as for :meth:`fit`.
        out
            Path of a ``.npy`` file for the embedding, which is then returned as a read-only ``numpy.memmap``. An
            existing file is replaced.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            Fewer than half of the modelled genes are present, ``out`` is not a ``.npy`` file, or ``adata`` holds
            several sections without the ``section_key`` of :meth:`fit`.

        Warns
        -----
        UserWarning
            Modelled genes are missing.
        """
        if out is None:
            return self.run(adata, links).embedding
        path = Path(out).expanduser()
        if path.suffix != ".npy":
            raise ValueError(f"out= names the .npy file that the embedding goes to, got {str(path)!r}: embedding.npy?")
        embedding = self.run(adata, links).embedding
        with atomic_file(path) as unfinished, unfinished.open("wb") as stream:
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
            The model was fitted on an embedding (``use_rep``), or fewer than half of the modelled genes are present.
        KeyError
            A gene was not modelled.
        """
        return self.denoise_outputs(adata, self.run(adata, links), genes)

    def denoise_outputs(self, adata: AnnData, outputs: Outputs, genes: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the denoised expression of outputs of :meth:`run`."""
        fitted = self.fitted
        steps = fitted.features.genes
        if steps is None or outputs.scaling is None:
            raise ValueError(
                f"The model was fitted on {fitted.features.source}, not on genes, so it cannot denoise "
                "expression. Fit it on counts (use_rep=None)."
            )
        named = steps.genes if genes is None else list(genes)
        values = np.empty((adata.n_obs, len(named)), np.float32)
        for rows in row_chunks(adata.n_obs, max(fitted.features.n_features, len(steps.genes))):
            features = self.to_features(fitted.learnt, outputs.reconstruction[rows], outputs.row_scale[rows])
            features = fitted.features.without_image(features)
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
        """Assign the domains of a trained model to spots of other sections; nothing is fitted.

        Use :func:`histoquilt.tl.refine_domains` to smooth the result.

        Parameters
        ----------
        adata, links
            As for :meth:`embed`.
        key_added, embedding_key
            Keys for domains and embedding.

        Returns
        -------
        None. Adds to ``adata``:

        ``obs[key_added]`` : categorical with all domains of the model, also unused ones
        ``obs[f"{key_added}_confidence"]`` : float, 0 to 1, posterior probability of the domain
        ``obsm[embedding_key]`` : float32 ``(n_spots, n_latent)``
        ``uns["histoquilt"][key_added]`` : provenance, with the numbers of genes ``shared``, ``missing`` and ``filled``

        Raises
        ------
        RuntimeError
            The model is not trained, or has no domains yet.
        ValueError
            Fewer than half of the modelled genes are present.
        """
        check_adata(adata)
        if self.fitted is not None and self.domains is None:
            raise RuntimeError(
                f"This {type(self).__name__} has no domains to assign. Find them where it is trained: "
                "histoquilt.tl.spatial_domains(adata, n_domains, model=model)."
            )
        embedding = self.embed(adata, links=links)
        probabilities = self.domains.mixture.probabilities(embedding)
        names = np.array(self.domains.names)
        domains = pd.Categorical(names[probabilities.argmax(axis=1)], categories=sorted(self.domains.names, key=int))
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
        """Return the modelled genes that are ``shared`` by a section, ``missing``, and ``filled`` with the average.

        The missing genes are filled unless fewer than half are shared, in which case :meth:`embed` raises an error. All
        are empty if the model was fitted on an embedding.
        """
        steps = self.fitted.features.genes
        missing = [] if steps is None else steps.missing_genes([str(gene) for gene in adata.var_names])
        absent = set(missing)
        shared = [gene for gene in self.genes if gene not in absent]
        fills = steps is not None and steps.shares_enough(missing)
        return {"shared": shared, "missing": missing, "filled": list(missing) if fills else []}

    @property
    def genes(self) -> list[str]:
        """Modelled genes, in order; empty if the model was fitted on an embedding."""
        steps = self.fitted.features.genes
        return [] if steps is None else steps.genes

    @property
    def fitted(self) -> Fitted:
        """Fitted state; raises ``RuntimeError`` before :meth:`fit`."""
        if self._fitted is None:
            name = type(self).__name__
            raise RuntimeError(f"This {name} is not trained. Call .fit(adata), or histoquilt.models.load(folder).")
        return self._fitted

    def state(self) -> MethodState:
        """Return the fitted state, for :meth:`save`."""
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
    def from_checkpoint(cls, checkpoint: Checkpoint, device: "torch.device") -> Self:
        """Rebuild a trained model; called by :func:`histoquilt.models.load`."""
        method = {**checkpoint.config["method"], "genes": checkpoint.genes}  # stored in a separate file
        return super().from_checkpoint(replace(checkpoint, config={**checkpoint.config, "method": method}), device)

    def restore(self, state: MethodState) -> None:
        """Restore the fitted state from :meth:`state`."""
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
        domains = "" if self.domains is None else f", {len(self.domains.names)} domains"
        return f"{name}(trained on {self._fitted.features.source}{domains})"

    def graph(self, adata: AnnData, *, spatial_key: str = Keys.SPATIAL, section_key: str | None = None) -> SpatialGraph:
        """Return the spatial graph of the config: nearest neighbours, or all spots within a radius.

        With ``image="edges"`` links are weighed by the image (:func:`histoquilt.gr.weigh_links`).
        """
        if adata.n_obs < 3:
            raise ValueError(f"The section has {adata.n_obs} of the 3 spots that a spatial graph needs at least.")
        radius = self.config.radius
        extent: dict[str, Any] = {"n_neighbors": self.config.n_neighbors} if radius is None else {"radius": radius}
        graph = build_graph(adata, **extent, spatial_key=spatial_key, section_key=section_key)
        keys = self.config.image_keys
        if self.config.image != "edges" or not keys:
            return graph
        image, block = ImageBlock.fit(adata, keys, graph.connectivities, graph.section)
        if not image.shows_regions:
            warn_user(f"{image.no_regions()}; the image is not used.")
            return graph
        return weigh_links(graph, block, name=f"image: {', '.join(keys)}")

    def _features(
        self,
        adata: AnnData,
        made: Made | None,
        layer: str | None,
        use_rep: str | None,
        sections: np.ndarray | None,
        graph: SpatialGraph,
    ) -> tuple[SectionFeatures, np.ndarray, Scaling | None]:
        """Fit features, or reuse those already made with the same settings."""
        cache: dict[Any, Any] = {} if made is None or made.features is None else made.features
        key = (*SectionFeatures.settings_of(self.config), layer, use_rep, sections is not None)
        if key not in cache:
            with stage("features"):
                cache[key] = SectionFeatures.fit(
                    adata, self.config, layer=layer, use_rep=use_rep, sections=sections, adjacency=graph.connectivities
                )
        return cache[key]


def _tissue(
    adata: AnnData, graph: SpatialGraph, spatial_key: str, section_key: str | None, links: csr_matrix | None
) -> Tissue:
    """Return coordinates, and the graph joined with links between sections."""
    adjacency = graph.connectivities
    sections = None if section_key is None else adata.obs[section_key].astype(str).to_numpy()
    if links is not None:
        joined = union_links(adjacency, links)
        adjacency = joined if graph.weights is None else csr_matrix(adjacency.maximum(union_links(links)))
        if adjacency.diagonal().any():
            raise ValueError("The adjacency stores self loops; remove them, the model adds its own.")
        if (adjacency != adjacency.T).nnz:
            raise ValueError("The adjacency is directed; symmetrise it first, e.g. adjacency.maximum(adjacency.T).")
    return Tissue(adjacency, spot_centres(adata, spatial_key), sections)
