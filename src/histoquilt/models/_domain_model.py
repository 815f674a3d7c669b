"""Base class of models of tissue domains."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pandas as pd
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt._base import Keys, either
from histoquilt.cluster import NamedMixture
from histoquilt.gr import SpatialGraph, build_graph
from histoquilt.models._checkpoint import Checkpoint, write_checkpoint
from histoquilt.models._config import ModelConfig
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.train import strip_prefix

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Embedded:
    """Embedding of spots by a trained model.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=120, n_genes=50, n_domains=2, seed=1)
    >>> embedded = hq.models.AveragedPCs().fit(adata).run(adata)
    >>> embedded.embedding.shape, len(embedded.of_networks)
    ((120, 10), 1)
    """

    embedding: np.ndarray  # (n_spots, n_latent) float32; domains are clusters of its rows
    of_networks: list[np.ndarray]  # embedding of each network of a model; confidence is the mean over them
    # returns the embedding after one averaging over the graph less, for refinement; None if there is none
    less_smoothed: Callable[[], np.ndarray] | None = field(default=None, kw_only=True)


class DomainModel(ABC):
    """Base class of models that embed the spots of tissue sections; domains are clusters of the embedding.

    A subclass sets ``method`` and ``config_class`` and implements :meth:`fit` and :meth:`embed`; to be saved also
    :meth:`state` and :meth:`restore`; to denoise also :meth:`denoise`, with ``denoises = True``. Pass it as ``model=``
    to :func:`histoquilt.tl.spatial_domains` and :func:`histoquilt.tl.integrate_sections`; an entry point
    ``histoquilt.domain_models`` of its package makes it available as ``histoquilt domains --method NAME``.

    Attributes
    ----------
    config
        Settings.
    training_facts
        Record of training: ``seed``, ``history`` (a DataFrame) and others that JSON can hold.
    domains
        Fitted clusters with their names; ``None`` before domains were found.

    Examples
    --------
    >>> import numpy as np, histoquilt as hq
    >>> class LogDepth(hq.models.DomainModel):
    ...     method, config_class = "log_depth", hq.models.ModelConfig
    ...     def fit(self, adata, **settings):
    ...         return self
    ...     def embed(self, adata, *, links=None):
    ...         return np.log(adata.X.sum(axis=1)).A.astype(np.float32)
    >>> adata = hq.datasets.toy_section(n_spots=100, n_genes=50, n_domains=2, seed=0)
    >>> LogDepth().fit(adata).embed(adata).shape
    (100, 1)
    """

    method: ClassVar[str]
    config_class: ClassVar[type[ModelConfig]]
    has_network: ClassVar[bool] = False  # uses a device with sparse products
    denoises: ClassVar[bool] = False

    def __init__(self, config: Any = None) -> None:
        self.config = self.config_class() if config is None else config
        if not isinstance(self.config, self.config_class):
            raise TypeError(
                f"{type(self).__name__} takes a {self.config_class.__name__}, got a {type(self.config).__name__}."
            )
        self.training_facts: dict[str, Any] = {}
        self.domains: NamedMixture | None = None

    # implemented by a method

    @abstractmethod
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

        ``adata``, ``(n_spots, n_genes)``, has expression and spot centres. All arguments are described at
        :meth:`histoquilt.models.FeatureModel.fit`; a model may ignore those that it does not need.
        """

    @abstractmethod
    def embed(self, adata: AnnData, *, links: csr_matrix | None = None) -> np.ndarray:
        """Return the embedding of sections, used in training or not, ``(n_spots, n_latent)`` float32."""

    def denoise(
        self, adata: AnnData, genes: Sequence[str] | None = None, *, links: csr_matrix | None = None
    ) -> pd.DataFrame:
        """Return denoised log1p of counts per 10,000, spots by genes; by default of all modelled genes."""
        remedy = either("denoise=False", "--denoise none")
        raise NotImplementedError(f"{type(self).__name__} does not denoise. Pass {remedy}.")

    def state(self) -> MethodState:
        """Return the fitted state, for :meth:`save`."""
        raise NotImplementedError(f"{type(self).__name__} cannot be saved: it has no state().")

    def restore(self, state: MethodState) -> None:
        """Restore the fitted state from :meth:`state`, with weights on the model's device."""
        raise NotImplementedError(f"{type(self).__name__} cannot be loaded: it has no restore().")

    # provided by this class

    @property
    def genes(self) -> list[str]:
        """Modelled genes, in order; empty if the model does not use genes."""
        return []

    @property
    def n_components(self) -> int:
        """Number of principal components of the embedding that are clustered."""
        return int(getattr(self.config, "n_components", 10))

    def fit_run(self, adata: AnnData, *, made: Any = None, links: csr_matrix | None = None, **options: Any) -> Embedded:
        """Train, and return the result of :meth:`run` for the same sections.

        ``made`` is the graph and features of the sections, if already computed (:class:`histoquilt.models.Made`), for
        models that use them. Other arguments are those of :meth:`fit`.
        """
        self.fit(adata, links=links, **options)
        return self.run(adata, links)

    def run(self, adata: AnnData, links: csr_matrix | None = None) -> Embedded:
        """Return the embeddings from which domains are found."""
        embedding = np.asarray(self.embed(adata, links=links), dtype=np.float32)
        if embedding.ndim != 2 or len(embedding) != adata.n_obs or not np.isfinite(embedding).all():
            raise ValueError(
                f"{type(self).__name__}.embed must return finite numbers of shape ({adata.n_obs}, n_latent), got shape "
                f"{embedding.shape}."
            )
        return Embedded(embedding, [embedding])

    def denoise_outputs(self, adata: AnnData, outputs: Any, genes: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the denoised expression of outputs of :meth:`run`."""
        return self.denoise(adata, genes)

    def graph(self, adata: AnnData, *, spatial_key: str = Keys.SPATIAL, section_key: str | None = None) -> SpatialGraph:
        """Return the spatial graph of the method; by default of six nearest neighbours."""
        return build_graph(adata, n_neighbors=6, spatial_key=spatial_key, section_key=section_key)

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the trained model as a folder without pickle, for :func:`histoquilt.models.load`.

        Raises
        ------
        NotImplementedError
            The method cannot be saved.
        FileExistsError
            The folder is not empty and ``overwrite`` is false.
        """
        state = self.state()
        arrays = {f"method.{name}": value for name, value in state.arrays.items()}
        if self.domains is not None:
            arrays |= {f"domains.{name}": value for name, value in self.domains.arrays().items()}
        checkpoint = Checkpoint(
            model=type(self).__name__,
            weights=state.weights,
            config={
                "settings": self.config.to_dict(),
                "method": state.settings,
                "domains": None if self.domains is None else self.domains.names,
            },
            arrays=arrays,
            genes=self.genes,
            provenance={name: value for name, value in self.training_facts.items() if name != "history"},
        )
        write_checkpoint(checkpoint, folder, overwrite=overwrite)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, device: "torch.device") -> Self:
        """Rebuild a trained model; called by :func:`histoquilt.models.load`."""
        model = cls(cls.config_class.from_dict(checkpoint.config["settings"]))
        weights = {name: value.to(device) for name, value in checkpoint.weights.items()}
        model.restore(MethodState(weights, strip_prefix(checkpoint.arrays, "method"), checkpoint.config["method"]))
        names = checkpoint.config["domains"]
        if names is not None:
            model.domains = NamedMixture.restore(strip_prefix(checkpoint.arrays, "domains"), names)
        model.training_facts = checkpoint.provenance
        return model
