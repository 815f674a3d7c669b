"""The encoder ``he_texture``: colour and texture of H&E from formulas, with no weights to download."""

import hashlib
import json

import numpy as np

from histoquilt.im.encoders import _texture_gabor as gabor
from histoquilt.im.encoders import _texture_local as local
from histoquilt.im.encoders import _texture_nuclei as nuclei
from histoquilt.im.encoders import _texture_stain as stain
from histoquilt.im.encoders._check_patches import check_patches

_VERSION = 1  # increase it whenever a feature changes, so that cached embeddings are not reused
_INPUT_PX = 112
_AT_ONCE = 16  # patches that fit into the processor's cache together
_GREY_OF_HAEMATOXYLIN = (0.0, 1.5)  # optical densities mapped to 0 and 255 for texture features
_GREY_OF_EOSIN = (-0.4, 0.6)  # haematoxylin absorbs green too: eosin under dark nuclei comes out negative


class TextureEncoder:
    """Stain-separated colour, nuclei, local binary patterns, Gabor energies and co-occurrence of H&E patches.

    No weights, no randomness, no dependence between the patches of a batch; finite on empty glass and on black.
    """

    name = "he_texture"
    n_features = stain.N_STAIN + nuclei.N_NUCLEI + 2 * (local.N_LBP + gabor.N_GABOR) + 3 * local.N_GLCM
    input_px = _INPUT_PX
    mpp: float | None = None
    licence = ""
    citation = ""

    def __init__(self) -> None:
        settings = {"encoder": self.name, "version": _VERSION, "input_px": self.input_px, "n": self.n_features}
        self.digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def embed(self, patches: np.ndarray) -> np.ndarray:
        """Return float32 ``(n_patches, n_features)`` of uint8 RGB ``(n_patches, 112, 112, 3)``."""
        check_patches(patches, self.input_px)
        described = np.empty((len(patches), self.n_features), dtype=np.float32)
        for start in range(0, len(patches), _AT_ONCE):
            described[start : start + _AT_ONCE] = _describe(patches[start : start + _AT_ONCE])
        return described


def _describe(patches: np.ndarray) -> np.ndarray:
    stains = stain.separate_stains(patches)
    haematoxylin, eosin = stains[0], stains[1]
    blue, pink = local.to_grey(haematoxylin, *_GREY_OF_HAEMATOXYLIN), local.to_grey(eosin, *_GREY_OF_EOSIN)
    return np.concatenate(
        [
            stain.stain_features(patches, stains),
            nuclei.nuclei_features(haematoxylin),
            local.lbp_features(blue),
            local.lbp_features(pink),
            local.glcm_features(blue),
            local.glcm_features(local.halve(blue)),
            local.glcm_features(local.halve(pink)),  # eosin is smooth: at full size it repeats this
            gabor.gabor_features(haematoxylin),
            gabor.gabor_features(eosin),
        ],
        axis=1,
    )
