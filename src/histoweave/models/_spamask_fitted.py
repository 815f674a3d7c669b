"""What training of SpaMask leaves behind, and what it says about sections."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoweave.models._spamask_inputs import SpaMaskInputs, WayBack
from histoweave.models._spamask_training import TrainedNetwork
from histoweave.nn import UndirectedGraph


@dataclass(frozen=True)
class Outputs:
    """What a trained model says about sections.

    Attributes
    ----------
    embedding
        ``(n_spots, n_latent)`` float32, of all networks together.
    of_networks
        The embedding that each network makes.
    reconstruction
        ``(n_spots, n_inputs)``, mean over networks, on the scale of the inputs.
    way_back
        From there to expression.
    """

    embedding: np.ndarray
    of_networks: list[np.ndarray]
    reconstruction: np.ndarray
    way_back: WayBack


@dataclass(frozen=True)
class FittedSpaMask:
    """The fitted parts of a model.

    Attributes
    ----------
    networks
        Trained from different seeds.
    inputs
        From a section to what they see.
    layer, spatial_key, section_key
        Where the training sections had expression, spot centres and section.
    """

    networks: list[TrainedNetwork]
    inputs: SpaMaskInputs
    layer: str | None
    spatial_key: str
    section_key: str | None

    def run(
        self,
        adata: AnnData,
        adjacency: csr_matrix,
        sections: np.ndarray | None,
        embedding: Literal["latent", "reconstruction"],
    ) -> Outputs:
        """Pass sections through all networks.

        Parameters
        ----------
        adata
            The sections.
        adjacency
            ``(n_spots, n_spots)`` CSR, the graph of their spots.
        sections
            ``(n_spots,)`` section of every spot where genes are scaled section by section, else ``None``.
        embedding
            Which output is the embedding. Latent spaces of two networks have nothing in common, so latents go side by
            side; reconstructions are of the same features, so their mean is taken.
        """
        device = self.networks[0].device
        values, way_back = self.inputs.transform(adata, self.layer, sections)
        x, graph = torch.from_numpy(values).to(device), UndirectedGraph(adjacency, device=device)
        reconstructions = [one.reconstruction(x, graph) for one in self.networks]
        reconstruction = np.mean(reconstructions, axis=0)
        if embedding == "reconstruction":
            return Outputs(reconstruction, reconstructions, reconstruction, way_back)
        latents = [one.latent(x, graph) for one in self.networks]
        return Outputs(np.concatenate(latents, axis=1), latents, reconstruction, way_back)
