"""Embeddings cached on disk, named by a digest of the pixels of a batch and of the encoder.

Names hold no path, date or setting: the same patches find the same embedding, and any change of image, spots, mpp or
field gives another name. ``joblib.Memory`` is not used, because it stores pickles.
"""

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np

from histoquilt.runtime import atomic_file, logger


class EmbeddingCache:
    """Folder of embeddings of batches of patches, one ``.npz`` each; sections, encoders and processes may share it."""

    def __init__(self, folder: str | os.PathLike[str], encoder_digest: str, n_features: int) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"cache={str(folder)!r} is a file. Pass the name of a folder.")
        self.encoder_digest = encoder_digest
        self.n_features = n_features

    def path_of(self, patches: np.ndarray) -> Path:
        """Return the path of the embedding of these patches."""
        digest = hashlib.sha256(f"{self.encoder_digest} {patches.shape}".encode())
        digest.update(np.ascontiguousarray(patches).data)
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.npz"

    def get(self, path: Path, n_patches: int) -> np.ndarray | None:
        """Return float32 ``(n_patches, n_features)``, or None if it is not cached or the file is damaged."""
        embedding = None
        if path.is_file():
            try:
                with np.load(path, allow_pickle=False) as kept:
                    embedding = kept["embedding"]
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                logger.warning("cached embedding %s is damaged (%s); it is computed again", path, error)
        if embedding is not None and (embedding.shape != (n_patches, self.n_features) or embedding.dtype != np.float32):
            logger.warning("cached embedding %s has shape %s; it is computed again", path, embedding.shape)
            embedding = None
        return embedding

    def put(self, path: Path, embedding: np.ndarray) -> None:
        """Write an embedding, atomically."""
        with atomic_file(path) as beside:
            np.savez(beside, embedding=embedding)
