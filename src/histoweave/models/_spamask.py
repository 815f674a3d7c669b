"""SpaMask: spatial domains, denoising and integration by masked graph autoencoding.

Min, Fang, Chen, Zhang. PLOS Computational Biology 21(4): e1012881, 2025.

``L = L_feature + lambda L_edge``: the scaled cosine error of masked spots (masked graph autoencoder), and the binary
cross-entropy of hidden edges against pairs that are no edges (masked graph contrast), with one GCN encoder for both.

Where we differ from the published code, and why
------------------------------------------------
- The mask token *replaces* a masked spot's features, as the paper's text says; the released code adds it to them, so
  that nothing is hidden.
- Both directions of an edge are hidden together, and self loops never; the released code drops directions one by one
  and restores half of them, so that 16 % of the edges are hidden where 40 % are meant. Negatives are never true edges.
- The k-NN graph is symmetrised.
- Training stops when the embedding no longer changes.
- The cosine error leaves the length of a reconstruction open; denoised expression is brought to the measured scale by
  least squares, feature by feature.
- By default the network sees spatial factors (:class:`histoweave.pp.SpatialFactors`) in place of 200 principal
  components, most of which are noise on which neighbours do not agree. ``SpaMaskConfig.published()`` turns this off.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoweave._checks import check_adata
from histoweave._keys import Keys
from histoweave._runtime import logger, progress_bar, resolve_device, torch_generator
from histoweave.gr import knn_graph, radius_graph
from histoweave.models._checkpoint import Checkpoint, digest, write_checkpoint
from histoweave.models._spamask_config import SpaMaskConfig
from histoweave.models._spamask_inputs import SpaMaskInputs
from histoweave.nn import MaskedGraphAutoencoder, UndirectedGraph, product_dtype
from histoweave.train import fit_until_stable


class SpaMask:
    """Spatial domains and denoised expression of tissue sections.

    Parameters
    ----------
    config
        Settings; by default those found without labels. See :class:`SpaMaskConfig`.

    References
    ----------
    Min, Fang, Chen, Zhang. PLOS Computational Biology 21(4): e1012881, 2025.

    Examples
    --------
    >>> import histoweave as hw
    >>> adata = hw.datasets.toy_section(n_spots=400, n_genes=200, seed=0)
    >>> model = hw.models.SpaMask(hw.models.SpaMaskConfig(max_epochs=5)).fit(adata, progress=False)
    >>> len(model.embed(adata))
    400
    """

    def __init__(self, config: SpaMaskConfig | None = None) -> None:
        self.config = config or SpaMaskConfig()
        self.training_facts: dict[str, Any] = {}
        self._fitted: _Fitted | None = None

    def fit(
        self,
        adata: AnnData,
        *,
        layer: str | None = None,
        use_rep: str | None = None,
        spatial_key: str = Keys.SPATIAL,
        section_key: str | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        progress: bool = True,
    ) -> "SpaMask":
        """Train on a section; ``adata`` is not changed.

        Parameters
        ----------
        adata
            ``(n_spots, n_genes)``; raw counts in ``layers["counts"]`` or ``X``, or a matrix declared ``log1p_cp10k``;
            ``obsm[spatial_key]`` holds spot centres.
        layer
            Layer with the expression, in place of the above.
        use_rep
            Embedding in ``obsm`` that replaces the features made from genes. Nothing can be denoised then.
        spatial_key
            Where the spot centres are.
        section_key
            Column of ``obs`` that tells sections apart; spots of two sections are never neighbours.
        seed
            Of the initial weights, the masks and the negatives; features do not depend on it.
        device
            ``"auto"`` takes a GPU when there is one.
        progress
            Show a progress bar on stderr.

        Returns
        -------
        The model itself, trained. ``training_facts`` holds seed, epochs, why training stopped, seconds and the history.

        Raises
        ------
        KeyError
            ``layer``, ``use_rep``, ``spatial_key`` or ``section_key`` is missing.
        ValueError
            There are fewer than 3 spots, coordinates are not finite or all equal, or the expression is neither raw
            counts nor declared.
        """
        check_adata(adata)
        if adata.n_obs < 3:
            raise ValueError(f"The section has {adata.n_obs} of the 3 spots that a graph of neighbours needs at least.")
        started = time.perf_counter()
        torch_device = resolve_device(device)
        adjacency = self._adjacency(adata, spatial_key, section_key)
        inputs, values = SpaMaskInputs.fit(adata, adjacency, self.config, layer=layer, use_rep=use_rep)
        x = torch.from_numpy(values).to(torch_device)
        graph = UndirectedGraph(adjacency, device=torch_device)
        network = _build_network(self.config, inputs, seed).to(torch_device)
        with progress_bar("SpaMask", self.config.max_epochs, enabled=progress) as advance:
            history = fit_until_stable(
                _training_step(network, x, graph, self.config, seed),
                lambda: _outputs(network, x, graph, self.config.embedding),
                max_epochs=self.config.max_epochs,
                check_every=self.config.check_every,
                tolerance=self.config.tolerance,
                advance=advance,
            )
        reconstruction = _outputs(network, x, graph, "reconstruction").cpu().numpy()
        slope, intercept = _calibrate(reconstruction, values)
        self._fitted = _Fitted(network, inputs, slope, intercept, layer, spatial_key, section_key)
        self.training_facts = {
            "seed": seed,
            "sections": sorted(adata.obs[section_key].astype(str).unique()) if section_key else [],
            "digest": digest(adata, values, spatial_key),
            "n_spots": adata.n_obs,
            "n_inputs": values.shape[1],
            "n_epochs": history.n_epochs,
            "stopped": history.stopped,
            "device": str(torch_device),
            "precision": str(network.dtype).removeprefix("torch."),
            "wall_s": time.perf_counter() - started,
            "history": history.frame(),
        }
        logger.info("SpaMask: %d epochs, %s.", history.n_epochs, history.stopped)
        return self

    def embed(self, adata: AnnData) -> np.ndarray:
        """Return the embedding of a section, ``(n_spots, n_latent)`` float32.

        With ``config.embedding="latent"`` this is the encoder's output, as published; with ``"reconstruction"``
        (default) the decoder's: the spatial factors as the network sees them after noise is taken out.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            Modelled genes are missing.
        """
        return self._run(adata, self.config.embedding)[0]

    def denoise(self, adata: AnnData, genes: list[str] | None = None) -> pd.DataFrame:
        """Return denoised expression, log1p of counts per 10,000, ``(n_spots, n_genes)`` float32.

        Parameters
        ----------
        adata
            A section with all modelled genes.
        genes
            Which of the modelled genes; all by default.

        Raises
        ------
        RuntimeError
            The model is not trained.
        ValueError
            The model was fitted on an embedding (``use_rep``), or modelled genes are missing.
        KeyError
            A gene was not modelled.
        """
        fitted = self._trained()
        reconstruction, row_scale = self._run(adata, "reconstruction")
        inputs = reconstruction * fitted.slope + fitted.intercept
        values = fitted.inputs.inverse(inputs, row_scale, genes)
        return pd.DataFrame(values, index=adata.obs_names, columns=self.genes if genes is None else list(genes))

    @property
    def genes(self) -> list[str]:
        """The modelled genes, in order; empty where the model was fitted on an embedding."""
        steps = self._trained().inputs.genes
        return [] if steps is None else steps.genes

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the trained model as a folder without pickle; :func:`histoweave.models.load` reads it.

        Raises
        ------
        RuntimeError
            The model is not trained.
        FileExistsError
            The folder holds something and ``overwrite`` is false.
        """
        fitted = self._trained()
        facts = {name: value for name, value in self.training_facts.items() if name != "history"}
        keys = {"layer": fitted.layer, "spatial_key": fitted.spatial_key, "section_key": fitted.section_key}
        checkpoint = Checkpoint(
            model="SpaMask",
            weights=fitted.network.state_dict(),
            config={"settings": self.config.to_dict(), "keys": keys, "inputs": fitted.inputs.settings()},
            arrays={"slope": fitted.slope, "intercept": fitted.intercept, **fitted.inputs.arrays()},
            genes=self.genes,
            provenance=facts,
        )
        write_checkpoint(checkpoint, folder, overwrite=overwrite)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint) -> "SpaMask":
        """Rebuild a trained model; called by :func:`histoweave.models.load`."""
        model = cls(SpaMaskConfig.from_dict(checkpoint.config["settings"]))
        arrays = checkpoint.arrays
        inputs = SpaMaskInputs.restore(checkpoint.config["inputs"], arrays, checkpoint.genes)
        network = _build_network(model.config, inputs, seed=0)
        network.load_state_dict(checkpoint.weights)
        model._fitted = _Fitted(network, inputs, arrays["slope"], arrays["intercept"], **checkpoint.config["keys"])
        model.training_facts = checkpoint.provenance
        return model

    def __repr__(self) -> str:
        if self._fitted is None:
            return f"SpaMask(not trained, {self.config.n_hidden}-{self.config.n_latent})"
        network = self._fitted.network
        n_weights = sum(weight.numel() for weight in network.parameters())
        source = f"{len(self.genes):,} genes" if self.genes else f"obsm[{self._fitted.inputs.use_rep!r}]"
        device = next(network.parameters()).device
        return f"SpaMask(trained on {source}, {n_weights:,} weights, {device})"

    def _trained(self) -> "_Fitted":
        if self._fitted is None:
            raise RuntimeError("This SpaMask is not trained. Call .fit(adata), or histoweave.models.load(folder).")
        return self._fitted

    def _run(self, adata: AnnData, output: str) -> tuple[np.ndarray, np.ndarray]:
        """Return an output of the network for a section, and the length of its rows of features."""
        check_adata(adata)
        fitted = self._trained()
        device = next(fitted.network.parameters()).device
        adjacency = self._adjacency(adata, fitted.spatial_key, fitted.section_key)
        values, row_scale = fitted.inputs.transform(adata, fitted.layer)
        x = torch.from_numpy(values).to(device)
        output_values = _outputs(fitted.network, x, UndirectedGraph(adjacency, device=device), output)
        return output_values.cpu().numpy(), row_scale

    def _adjacency(self, adata: AnnData, spatial_key: str, section_key: str | None) -> csr_matrix:
        """Return the graph the config asks for, built beside ``adata``, which stays as it is."""
        bare = AnnData(obs=adata.obs, obsm={key: adata.obsm[key] for key in [spatial_key] if key in adata.obsm})
        build_graph(bare, self.config, spatial_key=spatial_key, section_key=section_key)
        return bare.obsp[Keys.CONNECTIVITIES]


def build_graph(
    adata: AnnData, config: SpaMaskConfig, *, spatial_key: str = Keys.SPATIAL, section_key: str | None = None
) -> None:
    """Write the graph that a config asks for, by :func:`histoweave.gr.knn_graph` or ``radius_graph``."""
    if config.radius is not None:
        radius_graph(adata, config.radius, spatial_key=spatial_key, section_key=section_key)
    else:
        knn_graph(adata, config.n_neighbors, spatial_key=spatial_key, section_key=section_key)


@dataclass(frozen=True)
class _Fitted:
    """What training leaves behind."""

    network: MaskedGraphAutoencoder
    inputs: SpaMaskInputs
    slope: np.ndarray  # (n_inputs,) brings reconstructions to the scale of the inputs
    intercept: np.ndarray
    layer: str | None
    spatial_key: str
    section_key: str | None


def _build_network(config: SpaMaskConfig, inputs: SpaMaskInputs, seed: int) -> MaskedGraphAutoencoder:
    """Initialise under the seed, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MaskedGraphAutoencoder(
            inputs.n_inputs,
            config.n_hidden,
            config.n_latent,
            mask_rate=config.mask_rate,
            edge_mask_rate=config.edge_mask_rate,
            alpha=config.alpha,
            scorer_dropout=config.scorer_dropout,
            hops=None if inputs.factors is None else torch.from_numpy(inputs.factors.hops),
        )


def _training_step(
    network: MaskedGraphAutoencoder, x: torch.Tensor, graph: UndirectedGraph, config: SpaMaskConfig, seed: int
) -> Callable[[], dict[str, float]]:
    """Return a function that makes one optimiser step on the whole section."""
    network.dtype = product_dtype(config.precision, x.device, config.n_latent)
    generator = torch_generator(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)

    def step() -> dict[str, float]:
        network.train()
        optimiser.zero_grad(set_to_none=True)
        losses = network(x, graph, generator)
        loss = losses.feature + config.edge_weight * losses.edge
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), config.max_grad_norm)
        optimiser.step()
        return {"loss": loss.item(), "feature_loss": losses.feature.item(), "edge_loss": losses.edge.item()}

    return step


@torch.no_grad()
def _outputs(network: MaskedGraphAutoencoder, x: torch.Tensor, graph: UndirectedGraph, output: str) -> torch.Tensor:
    """Unmasked pass over the full graph: the encoder's (``latent``) or the decoder's output (``reconstruction``)."""
    network.eval()
    if output == "latent":
        return network.encoder(x, graph.propagation)
    return network.reconstruct(x, graph)


def _calibrate(reconstruction: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least-squares line from each reconstructed input to the input; the cosine error leaves the scale open."""
    centred = reconstruction - reconstruction.mean(axis=0)
    variance = (centred**2).sum(axis=0)
    shared = (centred * (values - values.mean(axis=0))).sum(axis=0)
    slope = np.divide(shared, variance, out=np.zeros_like(shared), where=variance > 0)
    return slope, values.mean(axis=0) - slope * reconstruction.mean(axis=0)
