"""An embedding that goes to a file tile by tile, and stays there."""

from os import PathLike
from pathlib import Path

import numpy as np
from anndata import AnnData
from numpy.lib.format import open_memmap
from scipy.sparse import csr_matrix

from histoquilt.models.spamask._config import SpaMaskConfig
from histoquilt.models.spamask._fitted import FittedSpaMask
from histoquilt.models.spamask._tiled_training import said_by_tiles
from histoquilt.models.spamask._tiles import Tiles
from histoquilt.runtime import atomic_file
from histoquilt.study import spot_centres


def npy_path(path: str | PathLike[str]) -> Path:
    """Return the path of a ``.npy`` file; raises ``ValueError`` for another."""
    path = Path(path).expanduser()
    if path.suffix != ".npy":
        raise ValueError(f"out= names the .npy file that the embedding goes to, got {str(path)!r}: embedding.npy?")
    return path


def embedding_in_file(path: Path, embedding: np.ndarray) -> np.memmap:
    """Write an embedding and return it as it lies in the file."""
    with atomic_file(path) as beside, beside.open("wb") as stream:
        np.save(stream, embedding)
    return np.load(path, mmap_mode="r")


def embed_into_file(
    path: Path,
    fitted: FittedSpaMask,
    adata: AnnData,
    adjacency: csr_matrix,
    sections: np.ndarray | None,
    config: SpaMaskConfig,
) -> np.memmap:
    """Write what :meth:`FittedSpaMask.run` gives as the embedding of a large section, a batch of tiles at a time.

    ``sections``: ``(n_spots,)``, ``None`` for a single one. Returns the embedding as it lies in the file.
    """
    latent = config.embedding == "latent"
    values, _ = fitted.inputs.transform(adata, fitted.layer, sections)
    tiles = Tiles.of(adjacency, spot_centres(adata, fitted.spatial_key), sections, config.tile_spots)
    width = sum(one.network.bridge.in_features for one in fitted.networks) if latent else values.shape[1]
    with atomic_file(path) as beside:
        written = open_memmap(beside, mode="w+", dtype=np.float32, shape=(adata.n_obs, width))
        for spots, reconstructions, latents in said_by_tiles(fitted.networks, values, tiles, adjacency, latent=latent):
            written[spots] = np.concatenate(latents, axis=1) if latent else np.mean(reconstructions, axis=0)
        written.flush()
        del written
    return np.load(path, mmap_mode="r")
