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
- By default the network sees spatial factors (:class:`histoquilt.pp.SpatialFactors`) in place of 200 principal
  components, most of which are noise on which neighbours do not agree. ``SpaMaskConfig.published()`` turns this off.
- The trained decoder is weighed beside linear smoothing by an unbiased estimate of its error, factor by factor.
- Sections of a stack are linked to the adjacent ones by a k of their own, however far in z; the published k-NN graph in
  three dimensions falls apart at the true distances, so that false ones (10 um each) had to be given.
- Offsets that sections keep after scaling are taken out of the embedding, group of alike spots by group; the released
  code relies on scaling alone (:mod:`histoquilt.models.spamask._section_offsets`).
- Several networks can be trained from different seeds and averaged; the released code trains one.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike

import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix

import histoquilt
from histoquilt._base import Keys
from histoquilt.gr import knn_graph, radius_graph, union_links
from histoquilt.io import check_one_section
from histoquilt.models._checkpoint import Checkpoint, digest, digest_of_graph, write_checkpoint
from histoquilt.models._domain_model import DomainModel
from histoquilt.models.spamask._checkpoint import from_checkpoint, to_checkpoint
from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.models.spamask._embedding_file import embed_into_file, embedding_in_file, npy_path
from histoquilt.models.spamask._fitted import FittedSpaMask, Outputs
from histoquilt.models.spamask._inputs import SpaMaskInputs
from histoquilt.models.spamask._tiled_training import train_on_tiles
from histoquilt.models.spamask._tiles import Tiles, in_tiles, parts_of_batch, smooth_all
from histoquilt.models.spamask._training import TrainedNetwork, network_seeds, train_network
from histoquilt.nn import UndirectedGraph, product_dtype
from histoquilt.pp import by_chunks
from histoquilt.runtime import logger, n_processes, progress_bar, resolve_device
from histoquilt.study import check_adata, provenance, spot_centres, write_result
from histoquilt.train import History, TrainingCheckpoint, training_folder


class SpaMask(DomainModel):
    """Spatial domains and denoised expression of tissue sections.

    Parameters
    ----------
    config
        Settings; by default those found without labels. See :class:`SpaMaskConfig`.

    Attributes
    ----------
    training_facts
        Seed, epochs, why training stopped, seconds, history; ``tiles``, 1 where the whole graph was one batch, and
        ``steps``, gradient steps of all networks together. On tiles an epoch is one step, and ``parts`` of a batch and
        ``processes`` that shared them are there, too.
    domains
        The fitted mixture with the names of its domains, left by :func:`histoquilt.tl.spatial_domains` and
        :func:`histoquilt.tl.integrate_sections` (``model=``); ``None`` before.

    References
    ----------
    Min, Fang, Chen, Zhang. PLOS Computational Biology 21(4): e1012881, 2025.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, seed=0)
    >>> model = hq.models.SpaMask(hq.models.SpaMaskConfig(max_epochs=5)).fit(adata, progress=False)
    >>> len(model.embed(adata))
    400
    """

    method = "spamask"
    config_class = SpaMaskConfig
    has_network = True
    denoises = True
    config: SpaMaskConfig

    def __init__(self, config: SpaMaskConfig | None = None) -> None:
        super().__init__(config)
        self._fitted: FittedSpaMask | None = None

    @property
    def scales_by_section(self) -> bool:
        """Whether features of several sections are scaled section by section."""
        return self.config.scale_by_section

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
        checkpoint: str | PathLike[str] | None = None,
    ) -> "SpaMask":
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
            Random seed of the initial weights, the masks and the negatives; features do not depend on it.
        device
            Device to train on; ``"auto"`` uses a GPU if available.
        progress
            If true, show a progress bar on stderr.
        checkpoint
            Folder for training checkpoints, created if absent and written about every 15 seconds. The same call after
            an interruption resumes from there and gives the same result, bit for bit on the CPU. Checkpoints of a call
            with other data, settings, seed, number of threads or version are replaced. The folder is never deleted.
            Under ``torchrun`` all processes read it and the first one writes it.

        Returns
        -------
        The trained model itself. ``training_facts`` holds seed, epochs, why training stopped, seconds and the history.

        Raises
        ------
        KeyError
            ``layer``, ``use_rep``, ``spatial_key`` or ``section_key`` is missing.
        ValueError
            There are fewer than 3 spots, coordinates are not finite or all equal, or the expression is neither raw
            counts nor declared; or there are several sections in one frame, and no ``section_key``.
        NotADirectoryError
            ``checkpoint`` is a file.
        """
        check_adata(adata)
        if adata.n_obs < 3:
            raise ValueError(f"The section has {adata.n_obs} of the 3 spots that a graph of neighbours needs at least.")
        if section_key is None:
            check_one_section(adata, spatial_key=spatial_key)
        folder = None if checkpoint is None else training_folder(checkpoint)
        started = time.perf_counter()
        torch_device = resolve_device(device, sparse=True)
        # refused here, where the GPU has none, and not after the features are made
        precision = str(product_dtype(self.config.precision, torch_device, self.config.n_latent))
        adjacency = self._adjacency(adata, spatial_key, section_key, links)
        sections = self._sections_to_scale(adata, section_key)
        inputs, values = SpaMaskInputs.fit(
            adata, adjacency, self.config, layer=layer, use_rep=use_rep, sections=sections
        )
        of_data = digest(adata, values, spatial_key)
        train, n_tiles = self._trainer(adata, adjacency, values, inputs, spatial_key, section_key, torch_device)
        of_graph = digest_of_graph(adjacency, _sections(adata, section_key), inputs.hops, inputs.noise)
        together = {"parts": parts_of_batch(self.config.n_parts), "processes": n_processes()} if n_tiles > 1 else {}
        job = {"data": of_data, "graph": of_graph, "settings": self.config.to_dict(), "precision": precision} | together
        with progress_bar("SpaMask", self.config.n_networks * self.config.max_epochs, enabled=progress) as advance:
            trained = []
            for number, network_seed in enumerate(network_seeds(seed, self.config.n_networks)):
                kept = None
                if folder is not None:
                    file = folder / f"network-{number}.safetensors"
                    kept = TrainingCheckpoint(file, job | {"seed": network_seed}, torch_device)
                one = {"hops": inputs.hops, "noise": inputs.noise, "seed": network_seed, "checkpoint": kept}
                trained.append(train(**one, advance=advance))
        networks, histories = zip(*trained, strict=True)
        self.domains = None
        self._fitted = FittedSpaMask(list(networks), inputs, layer, spatial_key, section_key)
        if section_key is not None and self.config.match_sections and len(adata.obs[section_key].unique()) > 1:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # said when the features were made
                outputs = self.run(adata, links)
            names = adata.obs[section_key].astype(str).to_numpy()
            self._fitted = self._fitted.with_offsets(outputs, names, seed=seed)
        all_converged = all(history.stopped == "converged" for history in histories)
        self.training_facts = {
            "seed": seed,
            "sections": sorted(adata.obs[section_key].astype(str).unique()) if section_key else [],
            "digest": of_data,
            "n_spots": adata.n_obs,
            "n_inputs": values.shape[1],
            "features": "by chunks" if by_chunks(adata.n_obs) else "whole",
            "n_factor_spots": 0 if inputs.factors is None else inputs.factors.n_fitted,
            "n_epochs": max(history.n_epochs for history in histories),
            "tiles": n_tiles,
            **together,
            "steps": sum(history.n_epochs for history in histories),
            "stopped": "converged" if all_converged else "max_epochs",
            "device": str(torch_device),
            "precision": str(networks[0].network.dtype).removeprefix("torch."),
            "wall_s": time.perf_counter() - started,
            "history": pd.concat(
                [history.frame().assign(run=run) for run, history in enumerate(histories)], ignore_index=True
            ),
        }
        logger.info("SpaMask: %d epochs, %s.", self.training_facts["n_epochs"], self.training_facts["stopped"])
        return self

    def embed(
        self, adata: AnnData, *, links: csr_matrix | None = None, out: str | PathLike[str] | None = None
    ) -> np.ndarray:
        """Return the embedding of one or several sections, trained on or not, ``(n_spots, n_latent)`` float32.

        With ``config.embedding="reconstruction"`` (default) this is the decoder's output, the spatial factors as the
        network sees them after noise is taken out, in the mean over the networks; with ``"latent"`` the encoder's, as
        published, of several networks side by side. Genes that the model knows and the section lacks count as average.

        Parameters
        ----------
        adata
            As for :meth:`fit`; sections are told apart by the column that ``fit`` was given, where it is there.
        links
            As for :meth:`fit`.
        out
            A ``.npy`` file that the embedding is written to, whole or not at all, and returned from as an array that
            stays there (``numpy.memmap``, read-only). A large section goes there tile by tile and is never in memory as
            a whole, unless offsets between sections are taken out of it. An earlier file is replaced.

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
        check_adata(adata)
        path = None if out is None else npy_path(out)
        fitted = self.fitted
        if fitted.section_key not in adata.obs:
            check_one_section(adata, spatial_key=fitted.spatial_key)
        if path is None:
            return self.run(adata, links).embedding
        if fitted.offsets is not None or not in_tiles(adata.n_obs, self.config.tile_spots):
            return embedding_in_file(path, self.run(adata, links).embedding)
        return embed_into_file(path, fitted, adata, *self._graph_of(adata, links), self.config)

    def denoise(
        self, adata: AnnData, genes: Sequence[str] | None = None, *, links: csr_matrix | None = None
    ) -> pd.DataFrame:
        """Return denoised expression, log1p of counts per 10,000, ``(n_spots, n_genes)`` float32.

        Parameters
        ----------
        adata, links
            As for :meth:`embed`.
        genes
            Which of the modelled genes; all by default.

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

    def assign_domains(
        self,
        adata: AnnData,
        *,
        links: csr_matrix | None = None,
        key_added: str = Keys.DOMAIN,
        embedding_key: str = Keys.EMBEDDING,
    ) -> None:
        """Give the spots of sections that the model has not seen the domains that it knows.

        Nothing is fitted: the trained networks embed the spots, the fitted mixture names them.
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
                "This SpaMask has no domains to assign. Find them where it is trained: "
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
        steps = self.fitted.inputs.genes
        missing = [] if steps is None else steps.missing_genes([str(gene) for gene in adata.var_names])
        absent = set(missing)
        shared = [gene for gene in self.genes if gene not in absent]
        fills = steps is not None and steps.shares_enough(missing)
        return {"shared": shared, "missing": missing, "filled": list(missing) if fills else []}

    @property
    def genes(self) -> list[str]:
        """The modelled genes, in order; empty where the model was fitted on an embedding."""
        steps = self.fitted.inputs.genes
        return [] if steps is None else steps.genes

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the trained model as a folder without pickle; :func:`histoquilt.models.load` reads it.

        Raises
        ------
        RuntimeError
            The model is not trained.
        FileExistsError
            The folder holds something and ``overwrite`` is false.
        """
        checkpoint = to_checkpoint(self.config, self.fitted, self.domains, self.training_facts)
        write_checkpoint(checkpoint, folder, overwrite=overwrite)

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, device: torch.device) -> "SpaMask":
        """Rebuild a trained model; called by :func:`histoquilt.models.load`."""
        config, fitted, domains = from_checkpoint(checkpoint)
        for one in fitted.networks:
            one.network.to(device)
        model = cls(config)
        model._fitted, model.domains, model.training_facts = fitted, domains, checkpoint.provenance
        return model

    def __repr__(self) -> str:
        if self._fitted is None:
            return f"SpaMask(not trained, {self.config.n_hidden}-{self.config.n_latent})"
        networks = self._fitted.networks
        n_weights = sum(weight.numel() for one in networks for weight in one.network.parameters())
        source = f"{len(self.genes):,} genes" if self.genes else f"obsm[{self._fitted.inputs.use_rep!r}]"
        domains = "" if self.domains is None else f", {len(self.domains.names)} domains"
        return f"SpaMask(trained on {source}, {n_weights:,} weights{domains}, {networks[0].device})"

    @property
    def fitted(self) -> FittedSpaMask:
        """What training left behind; raises ``RuntimeError`` before :meth:`fit`."""
        if self._fitted is None:
            raise RuntimeError("This SpaMask is not trained. Call .fit(adata), or histoquilt.models.load(folder).")
        return self._fitted

    def run(self, adata: AnnData, links: csr_matrix | None = None) -> Outputs:
        """Pass sections through all networks once; embedding, denoised expression and domains all follow from that.

        Parameters
        ----------
        adata
            Sections, trained on or not, with the genes of training.
        links
            Edges between spots of different sections, ``(n_spots, n_spots)``, as in :meth:`fit`.
        """
        check_adata(adata)
        fitted = self.fitted
        adjacency, sections = self._graph_of(adata, links)
        return fitted.run(adata, adjacency, sections, self.config.embedding, self.config.tile_spots)

    def _graph_of(self, adata: AnnData, links: csr_matrix | None) -> tuple[csr_matrix, np.ndarray | None]:
        """Return the graph of sections, trained on or not, and the section of every spot."""
        fitted = self.fitted
        section_key = fitted.section_key if fitted.section_key in adata.obs else None
        return self._adjacency(adata, fitted.spatial_key, section_key, links), _sections(adata, section_key)

    def _trainer(
        self,
        adata: AnnData,
        adjacency: csr_matrix,
        values: np.ndarray,
        inputs: SpaMaskInputs,
        spatial_key: str,
        section_key: str | None,
        device: torch.device,
    ) -> tuple[Callable[..., tuple[TrainedNetwork, History]], int]:
        """Return what trains a network, on the whole graph or on tiles of it, and the number of tiles."""
        if not in_tiles(adata.n_obs, self.config.tile_spots):
            if n_processes() > 1:
                logger.info(
                    "%d spots are one batch, which every process of torchrun computes alike: it brings nothing here.",
                    adata.n_obs,
                )
            x, graph = torch.from_numpy(values).to(device), UndirectedGraph(adjacency, device=device)
            return partial(train_network, x, graph, self.config), 1
        sections = _sections(adata, section_key)
        tiles = Tiles.of(adjacency, spot_centres(adata, spatial_key), sections, self.config.tile_spots)
        smooth = None if inputs.hops is None else smooth_all(values, adjacency, inputs.hops)
        return partial(train_on_tiles, values, tiles, self.config, smooth=smooth, device=device), len(tiles)

    def denoise_outputs(self, adata: AnnData, outputs: Outputs, genes: Sequence[str] | None = None) -> pd.DataFrame:
        """Return the denoised expression in what :meth:`run` returned, as :meth:`denoise` does."""
        named = None if genes is None else list(genes)
        values = self.fitted.inputs.inverse(outputs.reconstruction, outputs.way_back, named)
        return pd.DataFrame(values, index=adata.obs_names, columns=self.genes if named is None else named)

    def _sections_to_scale(self, adata: AnnData, section_key: str | None) -> np.ndarray | None:
        """Return the section of every spot where genes are scaled section by section, else ``None``."""
        return _sections(adata, section_key) if self.config.scale_by_section else None

    def write_graph(self, adata: AnnData, *, spatial_key: str = Keys.SPATIAL, section_key: str | None = None) -> None:
        """Write the graph that the config asks for, by :func:`histoquilt.gr.knn_graph` or ``radius_graph``."""
        if self.config.radius is not None:
            radius_graph(adata, self.config.radius, spatial_key=spatial_key, section_key=section_key)
        else:
            knn_graph(adata, self.config.n_neighbors, spatial_key=spatial_key, section_key=section_key)

    def _adjacency(
        self, adata: AnnData, spatial_key: str, section_key: str | None, links: csr_matrix | None
    ) -> csr_matrix:
        """Return the graph the config asks for, with the links, built beside ``adata``, which stays as it is."""
        bare = AnnData(obs=adata.obs, obsm={key: adata.obsm[key] for key in [spatial_key] if key in adata.obsm})
        self.write_graph(bare, spatial_key=spatial_key, section_key=section_key)
        graph = bare.obsp[Keys.CONNECTIVITIES]
        return graph if links is None else union_links(graph, links)


def _sections(adata: AnnData, section_key: str | None) -> np.ndarray | None:
    """Return the section of every spot, ``None`` where there is one."""
    return None if section_key is None else adata.obs[section_key].astype(str).to_numpy()
