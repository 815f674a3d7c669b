"""SpaMask: spatial domains, denoising and integration by masked graph autoencoding.

Min, Fang, Chen, Zhang. PLOS Computational Biology 21(4): e1012881, 2025.

``L = L_feature + lambda L_edge``: the scaled cosine error of masked spots (masked graph autoencoder) and the binary
cross-entropy of hidden edges against pairs without an edge (masked graph contrast), with one GCN encoder.

Where we differ from the published code, and why
------------------------------------------------
- The mask token *replaces* a masked spot's features, as in the paper's text; the released code adds it, which hides
  nothing.
- Both directions of an edge are hidden together, and self loops never; the released code drops directions separately
  and restores half of them, which hides 16 % of the edges instead of 40 %. Negatives are never true edges.
- The k-NN graph is symmetrised.
- Training uses tiles of 1,024 spots, 4,096 spots per step; a section of up to 4,096 spots is one batch, as published.
- Batch statistics are recomputed from a sample of batches after training.
- The cosine error does not fix the scale of a reconstruction; denoised expression is scaled by least squares, feature
  by feature.
- Adjacent sections of a stack are linked by a separate k, whatever their distance in z; the published k-NN graph in
  three dimensions is disconnected at the true distances, and needs false ones (10 um).
- Section offsets that remain after scaling are removed from the embedding
  (:mod:`histoquilt.models.domains._section_offsets`); the released code relies on scaling.
- Several networks can be trained from different seeds and their embeddings concatenated; the released code trains one.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from histoquilt.models.domains._feature_model import FeatureModel, Outputs, Tissue
from histoquilt.models.expression._checkpoint import MethodState
from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.models.spamask._tiles import BATCH_SPOTS, Tiles, parts_of_batch
from histoquilt.models.spamask._training import TrainedNetwork, build_network, network_seeds, outputs_of, train_network
from histoquilt.runtime import logger, n_processes, progress_bar
from histoquilt.train import strip_prefix


class SpaMask(FeatureModel):
    """Spatial domains and denoised expression by a masked graph autoencoder with a masked edge contrast.

    Parameters
    ----------
    config
        Settings; by default those of the paper's text.

    Attributes
    ----------
    training_facts
        Record of training: seed, epochs, reason to stop, seconds, history, numbers of ``tiles``, of gradient ``steps``
        of all networks, of ``parts`` per batch and of ``processes``.

    References
    ----------
    Min, Fang, Chen, Zhang. PLOS Computational Biology 21(4): e1012881, 2025.

    Examples
    --------
    >>> import histoquilt as hq
    >>> adata = hq.datasets.toy_section(n_spots=400, n_genes=200, seed=0)
    >>> config = hq.models.SpaMaskConfig(n_hidden=32, n_latent=16, max_epochs=5)
    >>> model = hq.models.SpaMask(config).fit(adata, progress=False)
    >>> model.embed(adata).shape
    (400, 16)
    """

    method = "spamask"
    config_class = SpaMaskConfig
    has_network = True
    config: SpaMaskConfig

    def learn(
        self, features: np.ndarray, tissue: Tissue, *, seed: int, device: str | torch.device, progress: bool
    ) -> tuple[list[TrainedNetwork], dict[str, Any]]:
        """Train the networks."""
        config = self.config
        tiles = Tiles.of(tissue, config.tile_spots)
        with progress_bar("SpaMask", config.n_networks * config.max_epochs, enabled=progress) as advance:
            trained = [
                train_network(features, tiles, config, seed=network_seed, device=torch.device(device), advance=advance)
                for network_seed in network_seeds(seed, config.n_networks)
            ]
        networks, histories = zip(*trained, strict=True)
        stops = {history.stopped for history in histories}
        frames = [history.frame().assign(run=run) for run, history in enumerate(histories)]
        facts = {
            "n_epochs": max(history.n_epochs for history in histories),
            "tiles": len(tiles),
            "parts": parts_of_batch(config.n_parts),
            "processes": n_processes(),
            "steps": sum(history.n_epochs for history in histories),
            "stopped": "converged" if stops == {"converged"} else "max_epochs",
            "device": str(device),
            "precision": str(networks[0].network.dtype).removeprefix("torch."),
            "history": pd.concat(frames, ignore_index=True),
        }
        logger.info("SpaMask: %d epochs, %s.", facts["n_epochs"], facts["stopped"])
        return list(networks), facts

    def apply(self, learnt: list[TrainedNetwork], features: np.ndarray, tissue: Tissue) -> Outputs:
        """Return the concatenated embeddings and the mean reconstruction of the networks."""
        latents, reconstruction = outputs_of(learnt, features, Tiles.of(tissue, self.config.tile_spots))
        embedding = latents[0] if len(latents) == 1 else np.concatenate(latents, axis=1)
        return Outputs(embedding, latents, reconstruction, np.ones(len(features)))

    def to_features(
        self, learnt: list[TrainedNetwork], reconstruction: np.ndarray, row_scale: np.ndarray
    ) -> np.ndarray:
        """Return the reconstruction, which already consists of features."""
        return reconstruction

    def embedding_width(self, n_features: int) -> int:
        """Return the width of the concatenated embeddings."""
        return self.config.n_latent * self.config.n_networks

    def working_bytes(self, n_spots: int, n_features: int) -> int:
        """Return the bytes of a training step (activations of both branches, scored pairs) and of the outputs."""
        config = self.config
        edges = 0.6 * config.n_neighbors  # per spot
        of_spot = 20 * (config.n_hidden + config.n_latent) + 16 * config.edge_mask_rate * edges * config.n_latent
        read = min(n_spots, 3 * BATCH_SPOTS * parts_of_batch(config.n_parts) // n_processes())  # with halo
        outputs = 4 * (2 * self.embedding_width(n_features) + n_features)
        return int((of_spot + 60 * (2 * edges + 1) + 24 * n_features) * read) + outputs * n_spots

    def learnt_state(self, learnt: list[TrainedNetwork]) -> MethodState:
        """Return weights and the scale of reconstructions."""
        weights = {
            f"{number}.{name}": value
            for number, trained in enumerate(learnt)
            for name, value in trained.network.state_dict().items()
        }
        return MethodState(weights, {name: np.stack([vars(trained)[name] for trained in learnt]) for name in _SCALE})

    def restore_learnt(self, state: MethodState, n_features: int) -> list[TrainedNetwork]:
        """Rebuild the networks."""
        if state.arrays["slope"].shape[1] != n_features:
            raise ValueError(f"{n_features} features for a network of {state.arrays['slope'].shape[1]}")
        networks = []
        for number in range(self.config.n_networks):
            network = build_network(self.config, n_features, seed=0)
            network.load_state_dict(strip_prefix(state.weights, str(number)))
            network.to(state.weights["0.token"].device)
            networks.append(TrainedNetwork(network, *(state.arrays[name][number] for name in _SCALE)))
        return networks


_SCALE = ("slope", "intercept")
