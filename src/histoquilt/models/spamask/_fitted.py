"""What training of SpaMask leaves behind, and what it says about sections."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from anndata import AnnData
from scipy.sparse import csr_matrix

from histoquilt.models._domain_model import Embedded
from histoquilt.models.spamask._inputs import SpaMaskInputs, WayBack
from histoquilt.models.spamask._section_offsets import SectionOffsets
from histoquilt.models.spamask._tiled_training import outputs_on_tiles
from histoquilt.models.spamask._tiles import Tiles, in_tiles
from histoquilt.models.spamask._training import TrainedNetwork
from histoquilt.nn import UndirectedGraph
from histoquilt.study import spot_centres


@dataclass(frozen=True)
class Outputs(Embedded):
    """Spots as SpaMask's networks embed them, and what its decoders make of that.

    Attributes
    ----------
    reconstruction
        ``(n_spots, n_inputs)``, mean over networks, on the scale of the inputs.
    way_back
        Inverse of the transform from expression to inputs.
    """

    reconstruction: np.ndarray
    way_back: WayBack


@dataclass(frozen=True)
class FittedSpaMask:
    """Fitted parts of a SpaMask model.

    Attributes
    ----------
    networks
        Networks trained from different seeds.
    inputs
        Fitted conversion of a section to the input of the networks.
    layer, spatial_key, section_key
        Keys of expression, spot centres and section names in the training sections.
    offsets
        Section effects in the embedding; ``None`` if there was one section, or none are removed.
    """

    networks: list[TrainedNetwork]
    inputs: SpaMaskInputs
    layer: str | None
    spatial_key: str
    section_key: str | None
    offsets: SectionOffsets | None = None

    def with_offsets(self, outputs: Outputs, sections: np.ndarray, *, seed: int) -> "FittedSpaMask":
        """Return the same with offsets fitted between the sections it was trained on; ``outputs`` are theirs."""
        return replace(self, offsets=SectionOffsets.fit(outputs.embedding, sections, seed=seed)[0])

    def run(
        self,
        adata: AnnData,
        adjacency: csr_matrix,
        sections: np.ndarray | None,
        embedding: Literal["latent", "reconstruction"],
        tile_spots: int | None = None,
    ) -> Outputs:
        """Pass sections through all networks.

        Parameters
        ----------
        adata
            The sections.
        adjacency
            ``(n_spots, n_spots)`` CSR, the graph of their spots.
        sections
            ``(n_spots,)`` section of every spot; ``None`` for a single one.
        embedding
            Which output is the embedding. Latent spaces of two networks have nothing in common, so latents go side by
            side; reconstructions are of the same features, so their mean is taken.
        tile_spots
            Go by tiles of this many spots; ``None``: only where there are too many for one piece. The result is the
            same.
        """
        device = self.networks[0].device
        values, way_back = self.inputs.transform(adata, self.layer, sections)
        latent = embedding == "latent"
        if in_tiles(adata.n_obs, tile_spots):
            tiles = Tiles.of(adjacency, spot_centres(adata, self.spatial_key), sections, tile_spots)
            reconstructions, latents = outputs_on_tiles(self.networks, values, tiles, adjacency, latent=latent)
        else:
            x, graph = torch.from_numpy(values).to(device), UndirectedGraph(adjacency, device=device)
            reconstructions = [one.reconstruction(x, graph) for one in self.networks]
            latents = [one.latent(x, graph) for one in self.networks] if latent else []
        reconstruction = reconstructions[0] if len(reconstructions) == 1 else np.mean(reconstructions, axis=0)
        of_networks, together = reconstructions, reconstruction
        if latent:
            of_networks = latents
            together = np.concatenate(of_networks, axis=1)
        if self.offsets is not None:
            named = np.zeros(adata.n_obs, int) if sections is None else sections
            together = self.offsets.transform(together, named)
            if len(of_networks) > 1 and embedding == "reconstruction":  # they lie close to their mean
                of_networks = [self.offsets.transform(one, named) for one in of_networks]
        return Outputs(together, of_networks, reconstruction, way_back)
